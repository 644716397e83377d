"""Starts the retraining pipeline where it runs, once for each reason, and tells whoever waits when it has ended."""
