"""Servers that tests start on loopback: Cloud Storage, BigQuery, Dataflow, webhooks."""
