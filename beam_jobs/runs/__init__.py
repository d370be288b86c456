"""What a run is: its line, folder, parts, summary, ledger; and the catalog of runs."""
