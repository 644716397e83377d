"""`python -m workloads.rollout`"""

import sys

from workloads.rollout.cli import main

sys.exit(main())
