"""Metrics and traces of whatever runs: one way to declare and serve the former, one to begin and hand on the latter."""
