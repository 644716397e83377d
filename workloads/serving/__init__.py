"""What runs in an inference pod beside Triton: fetching and verifying the model repository, and telling readiness."""
