"""The pack as a process of its own: `pulumi preview --policy-pack policies` runs this folder."""

import sys
from pathlib import Path

# Pulumi runs the folder from within it, where Python then looks for modules: `policies` is not found there, but
# `network` would be.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if Path(path).resolve() != HERE)]

from pulumi_policy import PolicyPack  # noqa: E402

from policies.pack import initial_config, policies  # noqa: E402

PolicyPack("ai-cloud", policies=policies(), initial_config=initial_config())
