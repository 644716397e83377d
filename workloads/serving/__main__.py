"""`python -m workloads.serving`."""

import sys

from workloads.serving.cli import main

sys.exit(main())
