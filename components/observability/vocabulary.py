"""Values of labels that rules and dashboards ask for, as the workloads export them. A test holds both together."""

from __future__ import annotations

FAILURES = ("server_error", "unreachable", "broken", "timed_out")
"""`outcome` of rollout_requests_total: what an arm is to blame for."""
RESCUED = "rescued"
"""`outcome` of rollout_requests_total: answered instead of an arm that could not be reached."""

MOVING = ("waiting-for-replicas", "shadowing", "stepping", "rolling-back")
COMPARING = ("shadowing", "stepping")
ROLLED_BACK = ("rolling-back", "rolled-back")
INCONCLUSIVE = "inconclusive"
STOPPED = "stopped"
ENDED = ("promoted", "passed", "rolled-back", "stopped", "inconclusive")
"""`state` of rollout_state: under way; of those, compared with the baseline; withdrawn; undecided, so that a person
decides; stopped since the traffic was not split as it should be; those in which nothing more has to happen."""

LATEST, REFERENCE = "current", "reference"
"""`window` of monitoring_quality_bits_per_byte: of what was asked last, and of what a version was accepted for."""
FAILED = "failed"
"""`outcome` of pipeline_runs_total: not the candidate's fault, which would be `rejected`."""
