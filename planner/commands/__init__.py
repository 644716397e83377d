"""The commands of `aicloud`, a module each: `add` says what it accepts, and it returns its exit status.

0: done; 1: the environment has errors; 2: it could not be looked at.
"""
