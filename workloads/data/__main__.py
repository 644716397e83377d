"""`python -m workloads.data`."""

import sys

from workloads.data.cli import main

sys.exit(main())
