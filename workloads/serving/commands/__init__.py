"""Subcommands of `python -m workloads.serving`: each module here is one, of the same name.

It has `HELP`, `arguments(parser)` and `run(options)`, which returns an exit code or raises a ServingError. It imports
nothing heavy before it runs: the same program is a kubelet's probe, every few seconds.
"""
