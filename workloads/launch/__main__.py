"""`python -m workloads.launch`."""

import sys

from workloads.launch.cli import main

sys.exit(main())
