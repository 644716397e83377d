"""Counts of arms from Envoy's own metrics, asked of Prometheus.

Envoy Gateway gives each backend of a weighted rule a cluster of its own where backends have filters, as ours have
(`gateway.GatewayRoute.weighted`; components.inference.route_rules says where that was read). Of those clusters:

- `envoy_cluster_upstream_rq_xx{envoy_response_code_class}`: answers by class, whatever Envoy says itself included (503
  where there was no connection, 504 after a timeout);
- `envoy_cluster_upstream_rq_time_bucket{le}`: milliseconds until an answer was whole, in buckets.

Series are asked for as they are and subtracted here, one by one: a counter that is smaller than before began anew, and
`increase()` would give fractions of requests.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from workloads.rollout.errors import ShellFailed
from workloads.rollout.observation import Arm, bucket_of
from workloads.rollout.observe import Seen
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, JsonClient

REQUESTS, DURATIONS = "envoy_cluster_upstream_rq_xx", "envoy_cluster_upstream_rq_time_bucket"
CLUSTER, CLASS = "envoy_cluster_name", "envoy_response_code_class"
ERRORS = ("4", "5")
"""Classes that count against an arm: see `counts.FAILURES`."""
SETTLE_S = 45.0
"""From when weights are set until counts are of those alone: the gateway's proxies have to hear of them (seconds), and
Prometheus scrapes every 15."""
_LONGEST_S = 3600.0
_INSIDE = 0.999
"""Of a bucket's bound: what is surely before it."""

Series = dict[str, float]
"""Labels, as JSON -> value."""


class EnvoyObserver:
    """`clusters`: arm -> name of its cluster, and `mirror` -> that of copies, as `GatewayRoute.clusters` says them."""

    def __init__(
        self,
        prometheus: str,
        clusters: Callable[[], Mapping[str, str]],
        *,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.time,
        timeout_s: float = 10.0,
    ) -> None:
        self._http = JsonClient(prometheus, timeout_s=timeout_s)
        self._clusters, self._settle_s, self._clock = clusters, settle_s, clock

    def look(self, cursor: Any, since: float) -> tuple[Seen, Any]:
        if self._clock() < since + self._settle_s:
            return Seen(), cursor
        clusters = self._clusters()
        names = {arm: clusters[arm] for arm in (BASELINE, CONTROL, CANDIDATE, "mirror")}
        now = {arm: self._series(name) for arm, name in names.items()}
        new = {"since": since, "clusters": names, "series": now}
        if not cursor or cursor["since"] != since or cursor["clusters"] != names:
            # What there was before these weights is nobody's.
            return Seen(), new
        before = cursor["series"]
        arms = {arm: _arm(now[arm], before[arm]) for arm in names}
        return Seen(arms[BASELINE], arms[CONTROL], arms[CANDIDATE], arms["mirror"]), new

    def _series(self, cluster: str) -> dict[str, Series]:
        return {metric: self._query(f'{metric}{{{CLUSTER}="{cluster}"}}') for metric in (REQUESTS, DURATIONS)}

    def _query(self, query: str) -> Series:
        said = self._http.get(f"/api/v1/query?{urlencode({'query': query})}")
        try:
            if said["status"] != "success" or said["data"]["resultType"] != "vector":
                raise ShellFailed(f"{self._http.url}: {query}: {said.get('error') or said['data']['resultType']}")
            return {_labels(each["metric"]): float(each["value"][1]) for each in said["data"]["result"]}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ShellFailed(f"{self._http.url}: {query}: {type(error).__name__}: {error}") from None


def _labels(metric: Mapping[str, str]) -> str:
    return json.dumps(metric, sort_keys=True)


def _label(labels: str, name: str) -> str:
    return str(json.loads(labels).get(name, ""))


def _difference(now: Series, before: Series) -> Series:
    return {
        labels: value - before.get(labels, 0.0) if value >= before.get(labels, 0.0) else value
        for labels, value in now.items()
    }


def _arm(now: Mapping[str, Series], before: Mapping[str, Series]) -> Arm:
    by_class: dict[str, int] = defaultdict(int)
    for labels, count in _difference(now[REQUESTS], before[REQUESTS]).items():
        by_class[_label(labels, CLASS)] += round(count)
    requests = sum(by_class.values())
    errors = sum(by_class[each] for each in ERRORS)
    return Arm(requests, errors, _latencies(now[DURATIONS], before[DURATIONS], requests - errors))


def _latencies(now: Series, before: Series, answered: int) -> tuple[tuple[int, int], ...]:
    """Answers by bucket of ours: the last one in the bucket of Envoy's, whose bounds are bounds of ours as well where
    InferenceRoute has set them (components.inference.route_proxies.bootstrap).

    Envoy counts failed requests too. As many as there are too many are left out of the fastest: what fails early would
    make an arm look fast.
    """
    upto: dict[float, int] = defaultdict(int)
    for labels, count in _difference(now, before).items():
        upto[float(_label(labels, "le")) / 1e3] += round(count)
    found: dict[int, int] = defaultdict(int)
    last = 0
    for bound, count in sorted(upto.items()):
        # A pod that was scraped in between can leave one bucket behind another.
        found[bucket_of(min(bound * _INSIDE, _LONGEST_S))] += max(0, count - last)
        last = max(last, count)
    excess = max(0, sum(found.values()) - answered)
    kept = []
    for bucket, count in sorted(found.items()):
        left_out = min(count, excess)
        excess -= left_out
        if count > left_out:
            kept.append((bucket, count - left_out))
    return tuple(kept)
