"""The steps of the pipeline: a module each, with a `run` that takes a Context and returns figures for people."""
