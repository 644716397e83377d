"""Retraining as one pipeline: its definition, its steps, and what runs it on a laptop and in a cluster."""
