"""Values of labels that rules and dashboards ask for, as the workloads export them. A test holds both together."""

from __future__ import annotations

FAILURES = ("server_error", "unreachable", "broken", "timed_out")
"""`outcome` of rollout_requests_total: what an arm is to blame for."""
RESCUED = "rescued"
"""`outcome` of rollout_requests_total: answered instead of an arm that could not be reached."""

ROLLED_BACK = "rollback"
"""`action` of rollout_decisions_total."""
SAMPLE_RATIO = "sample_ratio_mismatch"
"""`reason` of rollout_decisions_total."""
INCONCLUSIVE = "inconclusive"
"""`state` of rollout_state: a person decides."""
MOVING = ("waiting", "preparing", "shadowing", "comparing", "progressing", "watching", "rolling_back")
"""`state` of rollout_state: under way."""

LATEST, REFERENCE = "latest", "reference"
"""`window` of monitoring_quality_bits_per_byte."""
SUCCEEDED = "succeeded"
"""`outcome` of pipeline_runs_total."""
