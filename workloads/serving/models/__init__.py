"""What Triton's Python backend runs. A model version's `model.py` only imports its class from here."""
