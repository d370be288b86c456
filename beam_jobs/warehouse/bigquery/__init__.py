"""BigQuery: jobs whose outcome is always known, staged loads, errors in plain words."""
