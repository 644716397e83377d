"""`python -m workloads.monitoring`."""

import sys

from workloads.monitoring.cli import main

sys.exit(main())
