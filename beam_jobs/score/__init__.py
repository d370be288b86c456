"""Rows to scores: the signature binding, tensors, outputs, rows that make a model fail."""
