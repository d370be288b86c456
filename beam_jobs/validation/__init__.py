"""Which rows are wrong: cells against the schema, keys that are missing or appear twice."""
