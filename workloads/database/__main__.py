"""`python -m workloads.database`."""

import sys

from workloads.database.cli import main

sys.exit(main())
