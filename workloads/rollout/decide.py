"""What to do next, from what is known. Pure: the same in a cluster, on a laptop, in a simulation and in a replay."""

from __future__ import annotations

from workloads.rollout.observation import Observation
from workloads.rollout.spec import Spec
from workloads.rollout.state import Decision, State


def decide(spec: Spec, state: State, observation: Observation) -> Decision:
    """One look. The same arguments give the same decision, to the last bit."""
    raise NotImplementedError
