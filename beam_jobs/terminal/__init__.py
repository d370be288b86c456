"""What a person sees: results on standard output; progress and errors on standard error.

Rich is imported inside the functions that draw on a terminal, so that verbs start at once;
`terminal.summary` knows runs, and is imported by those who print one.
"""

from beam_jobs.notes import print_note
from beam_jobs.terminal.details import print_details
from beam_jobs.terminal.progress import Progress
from beam_jobs.terminal.tables import print_csv, print_records, print_table
from beam_jobs.terminal.text import print_error, print_json, print_pairs

__all__ = [
    "Progress",
    "print_csv",
    "print_details",
    "print_error",
    "print_json",
    "print_note",
    "print_pairs",
    "print_records",
    "print_table",
]
