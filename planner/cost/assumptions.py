"""What no plan can tell about cost: how busy, how much data, how much traffic. Stated here, overridden in a stack file.

cost:assumptions:
  trainingHoursPerMonth: 300      # one number holds at every level of use
  natGib: [0, 500, 5000]          # or low, expected, largest
"""

# ruff: noqa: RUF009 (an Amount is frozen)

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from planner.cost.model import HOURS_PER_MONTH, Amount

KEY = "cost:assumptions"


class AssumptionError(ValueError):
    """Wrong values under `cost:assumptions`; the message lists all of them, each with what is accepted."""


@dataclass(frozen=True)
class Assumptions:
    """How an environment is used. Amounts are for low, expected and largest use; single numbers hold always.

    The attribute is in the configuration's spelling, so that one name stands in the stack file, here and in a report.
    """

    # ---- machines
    servingShare: float = 0.25
    """Part of a serving pool's machines between its fewest and its most that runs on average."""
    trainingHoursPerMonth: float = 160
    """Hours in which all machines of a training pool run; at other times it is at its fewest."""
    retrainingHoursPerMonth: Amount = Amount(0, 10, 100)
    """Hours in which a retraining pipeline without a cluster runs."""
    airflowShare: float = 0.1
    """Part of a managed Airflow's workers, between the fewest and the most, that runs on average."""
    otherShare: float = 0.25
    """As servingShare, of all other pools."""
    serverlessShare: float = 0.05
    """Part of the instances of a service without a cluster, between its fewest and its most, that runs on average."""
    serverlessRequestsMillions: Amount = Amount(0, 1, 10)
    """Requests to each such service a month."""
    reservationDiscount: float = 0.0
    """What a contract takes off the list price of reserved machines: 0.3 is 30 %."""

    # ---- traffic at the front door
    requestsPerSecond: Amount = Amount(0, 20, 200)
    """Requests that reach each serving region, on average over the month."""
    requestKib: float = 64
    """A request with its headers."""
    responseKib: float = 4
    """An answer with its headers."""
    dnsQueriesMillions: Amount = Amount(0, 1, 10)
    """DNS queries that each address record answers a month."""

    # ---- data
    coldGib: Amount = Amount(1024, 5120, 20480)
    """What is stored in each bucket, and in each of its replicas."""
    logBucketGib: Amount = Amount(1, 20, 100)
    """What is stored in each bucket for access logs."""
    objectMib: float = 64
    """An object on average; how many requests there are follows from it."""
    monthlyChange: float = 0.1
    """Part of a bucket's data that is written anew each month; replicas copy it."""
    readsPerObject: float = 2
    """How often an object is read a month."""
    dataAgeDays: float = 730
    """Data in a bucket is between 0 and so many days old, evenly: this spreads it over its lifecycle's classes."""
    warmGib: Amount = Amount(50, 500, 2000)
    """What is stored in a file system that is paid by use."""
    warmAgeDays: float = 180
    """As dataAgeDays, by when a file was last read."""
    warmReadGib: Amount = Amount(0, 200, 2000)
    """Read a month from a file system whose throughput is paid by use."""
    warmWriteGib: Amount = Amount(0, 50, 500)
    """Written a month to it."""

    # ---- networks
    natGib: Amount = Amount(1, 200, 2000)
    """What goes through each NAT gateway a month."""
    endpointGib: Amount = Amount(1, 50, 500)
    """What goes through each interface endpoint a month."""
    crossZoneGib: Amount = Amount(1, 500, 5000)
    """What a cluster's machines send to other zones a month."""

    # ---- logs, metrics, keys
    logGib: Amount = Amount(1, 20, 100)
    """What each log group or log bucket takes in a month."""
    flowLogGib: Amount = Amount(1, 20, 200)
    """What a subnet's flow logs write a month, on GCP; on AWS they go into a log group."""
    metricSamplesMillions: Amount = Amount(100, 500, 3000)
    """Samples that a cluster sends to Google's managed Prometheus a month by itself."""
    longTermSamplesMillions: Amount = Amount(20, 150, 1000)
    """Samples that Observability sends to the cloud's own Prometheus a month, of each cluster that has it."""
    spansMillions: Amount = Amount(0.1, 5, 50)
    """Spans that are kept a month, of each cluster with Observability."""
    spanKib: float = 1.5
    """A span, in KiB."""
    kmsRequests10k: Amount = Amount(1, 10, 100)
    """Uses of each key a month, in units of 10,000."""
    queueRequestsMillions: Amount = Amount(0.2, 0.5, 5)
    """Requests to each queue a month."""

    def request_gib(self, of: str) -> Amount:
        """GiB a month that a serving region receives (`request`), sends (`response`) or both (`both`)."""
        kib = {"request": self.requestKib, "response": self.responseKib, "both": self.requestKib + self.responseKib}[of]
        return self.requests.times(kib / 2**20)

    @property
    def requests(self) -> Amount:
        """Requests a month that reach a serving region."""
        return self.requestsPerSecond.times(3600 * HOURS_PER_MONTH)

    def as_data(self) -> dict[str, Any]:
        """Every assumption by name: a number, or low, expected and largest."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def of(cls, config: Mapping[str, str]) -> Assumptions:
        """Read a stack's `cost:assumptions` over the defaults. AssumptionError lists everything that is wrong."""
        text = config.get(KEY)
        if not text:
            return cls()
        try:
            given = json.loads(text)
        except json.JSONDecodeError:
            given = text
        if not isinstance(given, dict):
            raise AssumptionError(f"{KEY}: got {text!r}; expected a map of assumptions")
        defaults, problems = cls(), []
        values: dict[str, Any] = {}
        for name, value in given.items():
            place, default = f"{KEY}.{name}", getattr(defaults, name, None)
            if not isinstance(default, int | float | Amount):
                problems.append(f"{place}: unknown; there is {', '.join(f.name for f in fields(cls))}")
            elif isinstance(default, Amount) and isinstance(value, list):
                if len(value) == 3 and all(map(_is_number, value)) and 0 <= value[0] <= value[1] <= value[2]:
                    values[name] = Amount(*map(float, value))
                else:
                    problems.append(f"{place}: got {value}; expected [low, expected, largest], in that order")
            elif not _is_number(value) or value < 0:
                problems.append(f"{place}: got {value!r}; expected a number that is not negative")
            elif (most := _MOST.get(name)) is not None and value > most:
                problems.append(f"{place}: got {value}; expected at most {most}")
            elif value == 0 and name in _NOT_ZERO:
                problems.append(f"{place}: got 0; expected more")
            else:
                values[name] = Amount.of(float(value)) if isinstance(default, Amount) else float(value)
        if problems:
            raise AssumptionError(f"{len(problems)} wrong assumptions:\n" + "\n".join(f"  {p}" for p in problems))
        return cls(**values)


_MOST = {"servingShare": 1, "serverlessShare": 1, "otherShare": 1, "reservationDiscount": 1, "monthlyChange": 1,
         "trainingHoursPerMonth": HOURS_PER_MONTH}  # fmt: skip
_NOT_ZERO = {"objectMib", "dataAgeDays", "warmAgeDays"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return [value.low, value.expected, value.largest] if isinstance(value, Amount) else value
