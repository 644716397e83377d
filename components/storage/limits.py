"""What the two clouds accept, checked before anything is made: sizes of file systems, ages of objects, names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Optional

_NAME = re.compile(r"[a-z][a-z0-9-]{1,39}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

WARM_GIB = 1024
"""Default size of the warm tier: the least that a regional Filestore takes in every region."""

CACHE_GIB = 50
"""Default size of a node's cache of the mounted bucket."""

ZONES = 3
"""Zones over which RegionalNetwork spreads its subnets."""


@dataclass(frozen=True)
class LustreSizes:
    """Sizes of a Lustre file system in GiB: any of `single`, or a multiple of the step at its throughput, up to the
    largest multiple."""

    default_throughput: int
    """MB/s for each TiB where none is asked for."""
    steps: Mapping[int, int]
    """Throughput in MB/s for each TiB -> step in GiB."""
    largest_steps: int
    single: tuple[int, ...] = ()

    def accepts(self, capacity: int, throughput: int) -> bool:
        step = self.steps[throughput]
        return capacity in self.single or (capacity % step == 0 and 1 <= capacity // step <= self.largest_steps)

    def describe(self, throughput: int) -> str:
        step = self.steps[throughput]
        largest = step * self.largest_steps
        single = "".join(f"{size}, " for size in self.single)
        return f"accepted at {throughput} MB/s per TiB are {single}multiples of {step} up to {largest}"


LUSTRE: Mapping[str, LustreSizes] = {
    # https://docs.aws.amazon.com/fsx/latest/APIReference/API_CreateFileSystem.html (PERSISTENT_2, SSD); the service has
    # no upper limit but a quota, and 100 TiB is the default one.
    "aws": LustreSizes(250, {125: 2400, 250: 2400, 500: 2400, 1000: 2400}, 42, single=(1200,)),
    # https://cloud.google.com/managed-lustre/docs/create-instance#performance-tiers
    "gcp": LustreSizes(1000, {125: 72000, 250: 36000, 500: 18000, 1000: 9000}, 106),
}


@dataclass(frozen=True)
class Ages:
    """Days after which objects of the cold tier move on."""

    infrequent: int
    archive: int
    deep_archive: Optional[int]
    noncurrent: int

    @classmethod
    def of(cls, cold: Mapping[str, Any]) -> "Ages":
        """The ages that the arguments ask for. Numbers arrive as floats from other languages."""
        deep = cold.get("deep_archive_after_days")
        return cls(
            infrequent=int(cold.get("infrequent_after_days", 30)),
            archive=int(cold.get("archive_after_days", 90)),
            deep_archive=None if deep is None else int(deep),
            noncurrent=int(cold.get("noncurrent_days", 90)),
        )


def check(name: str, args: Mapping[str, Any]) -> None:
    """ValueError that names the component, the argument, what it got and what it accepts."""

    def refuse(argument: str, value: object, accepted: str) -> NoReturn:
        raise ValueError(f"TieredStorage {name!r}: {argument} is {value!r}; {accepted}")

    if not _NAME.fullmatch(name):
        refuse("name", name, "it names the bucket: 2 to 40 lower-case letters, digits and dashes, a letter first")
    if args["cloud"] not in LUSTRE:
        refuse("cloud", args["cloud"], "accepted are 'aws' and 'gcp'")
    for index, namespace in enumerate(args["namespaces"]):
        if not _NAMESPACE.fullmatch(namespace):
            refuse(f"namespaces[{index}]", namespace, "a namespace has lower-case letters, digits and dashes")
        if namespace in args["namespaces"][:index]:
            refuse(f"namespaces[{index}]", namespace, "it is there twice")
    if not 1 <= args.get("zone_count", ZONES) <= 6:
        refuse("zone_count", args["zone_count"], "accepted are 1 to 6")
    if (hot := args.get("hot")) is not None:
        _check_hot(hot, LUSTRE[args["cloud"]], refuse)
    if (warm := args.get("warm")) is not None:
        capacity = warm.get("capacity_gib", WARM_GIB)
        # https://cloud.google.com/filestore/docs/service-tiers; EFS takes anything, and the same setting should move.
        if not (1024 <= capacity < 10240 or (10240 <= capacity <= 102400 and capacity % 2560 == 0)):
            refuse("warm.capacity_gib", capacity, "accepted are 1024 to 10239, and multiples of 2560 up to 102400")
    _check_cold(args["cold"], args["region"], refuse)


def _check_hot(hot: Mapping[str, Any], sizes: LustreSizes, refuse: Callable[[str, object, str], NoReturn]) -> None:
    throughput = int(hot.get("throughput_mbps_per_tib", sizes.default_throughput))
    if throughput not in sizes.steps:
        accepted = ", ".join(str(step) for step in sizes.steps)
        refuse("hot.throughput_mbps_per_tib", throughput, f"accepted are {accepted}")
    if not sizes.accepts(int(hot["capacity_gib"]), throughput):
        refuse("hot.capacity_gib", hot["capacity_gib"], sizes.describe(throughput))


def _check_cold(cold: Mapping[str, Any], region: str, refuse: Callable[[str, object, str], NoReturn]) -> None:
    # These are S3's minima, and what the class before is billed for at least. GCS has none: one rule for both clouds,
    # so that a setting may move from one to the other.
    ages = Ages.of(cold)
    if ages.infrequent < 30:
        refuse("cold.infrequent_after_days", ages.infrequent, "accepted are 30 and more: S3 refuses less")
    if ages.archive < ages.infrequent + 30:
        refuse("cold.archive_after_days", ages.archive, f"accepted are {ages.infrequent + 30} and more")
    if ages.deep_archive is not None and ages.deep_archive < ages.archive + 90:
        refuse("cold.deep_archive_after_days", ages.deep_archive, f"accepted are {ages.archive + 90} and more")
    if ages.noncurrent < 1:
        refuse("cold.noncurrent_days", ages.noncurrent, "accepted are 1 and more")
    if cold.get("cache_gib", CACHE_GIB) < 1:
        refuse("cold.cache_gib", cold["cache_gib"], "accepted are 1 and more")
    if cold.get("replicate_to") == region:
        refuse("cold.replicate_to", region, "accepted is another region: a copy in the same one falls with the first")
