"""The whole loop on one machine: train, serve, watch, retrain, roll out; a bad model, caught and rolled back."""
