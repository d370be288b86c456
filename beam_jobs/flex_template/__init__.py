"""Flex Templates: what Dataflow is told of a job, and what it passes to it."""
