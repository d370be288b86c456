"""`python -m beam_jobs` is the console script `beam-jobs`."""

import sys

from beam_jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
