"""Moves traffic from one version of a model to the next, as far as measured evidence carries, and back in one step.

`decide` is pure: (spec, state, observation) in, a decision with its evidence out. What reads the world and sets weights
stands around it.
"""
