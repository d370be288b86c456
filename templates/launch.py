"""The program of the Flex Templates (FLEX_TEMPLATE_PYTHON_PY_FILE)."""

import sys

from beam_jobs.flex_template.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
