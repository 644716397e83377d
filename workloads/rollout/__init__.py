"""From one version of a model to the next: decided by evidence, done by thin shells."""
