"""`python -m workloads.loop`."""

import sys

from workloads.loop.cli import main

if __name__ == "__main__":
    sys.exit(main())
