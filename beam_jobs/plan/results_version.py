"""Which results this code gives for the same inputs."""

RESULTS_VERSION = 3
"""Part of every run's id. Raise it by one in the change that makes results differ for equal inputs:
scores, other outputs, which rows are quarantined, statistics, distances, anomalies and their
severities, answers to requests. Then a period that was computed before is computed again when it is
asked for; without it, a mended defect would leave it UNCHANGED. Not for words, new columns, speed.
"""
