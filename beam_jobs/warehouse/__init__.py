"""DuckDB and BigQuery behind one interface; tables and their types."""
