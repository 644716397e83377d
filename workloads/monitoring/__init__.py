"""Watches what a served model is asked and how well it answers, and decides when to train it again."""
