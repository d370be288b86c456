"""google-cloud-bigquery, without its notes on Python versions; it takes a second to import."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    from google.api_core import exceptions as google_errors
    from google.cloud import bigquery

__all__ = ["bigquery", "google_errors"]
