"""Flex Templates: what Dataflow knows of a job, and what it passes to it."""
