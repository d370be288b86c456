"""A run's summary, as announcements take it."""

SUMMARY = {
    "run_id": "3f2c9a1b5d7e8f60",
    "job": "monthly",
    "period": "2026-10-01",
    "status": "HELD",
    "rows": {"read": 10, "scored": 9, "quarantined": 1},
    "anomalies": [{}, {}],
    "hold_reasons": ["DRIFT site: \u2603 moved"],
    "overruled": [],
    "report": None,
    "run_folder": "gs://b/runs/monthly/2026-10/3f2c9a1b5d7e8f60",
    "seconds": 12.5,
}
