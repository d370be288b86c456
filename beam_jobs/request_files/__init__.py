"""The queue of requests: request files -> batches, scored batches -> answer files."""
