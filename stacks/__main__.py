"""The program that `pulumi up` runs, once per environment: settings in, the platform, exports out."""

import gc

import pulumi

# Everything that the imports made lives until the end. Looking for garbage among it, again and again while thousands of
# resources are registered, was more than half of a large preview's time (benchmarks/bench_garbage_collection.py).
gc.collect()
gc.freeze()
gc.disable()

from stacks.environment import Environment  # noqa: E402
from stacks.settings import load_settings  # noqa: E402

environment = Environment(load_settings())

for name, value in environment.exports().items():
    pulumi.export(name, value)
