"""What the values are like: TFDV's statistics, distances, slices, column types."""
