"""Trains a language model that survives: on a laptop, under torchrun, on machines that vanish."""
