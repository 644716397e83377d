"""A load test: requests come when they come, and whoever had to wait is counted as having waited."""
