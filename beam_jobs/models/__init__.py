"""What a SavedModel is: where it lies, what its graph says, and loading it."""
