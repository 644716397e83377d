"""`python -m workloads.training`."""

import sys

from workloads.training.cli import main

# Data workers and checkpoint writers that are spawned import this module again.
if __name__ == "__main__":
    sys.exit(main())
