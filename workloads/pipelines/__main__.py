"""`python -m workloads.pipelines`."""

import sys

from workloads.pipelines.cli import main

sys.exit(main())
