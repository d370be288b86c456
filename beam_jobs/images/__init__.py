"""Banner images: checks on encoded bytes, features, and tensors for models."""
