"""Kubernetes quantities: `2800m`, `11469Mi`, `1e3`."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

_PATTERN = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
_BINARY = {f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {
    **{letter: Fraction(1, 1000**power) for power, letter in enumerate("mun", 1)},
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
}

GIB = 2**30
MIB = 2**20


def parse(value: str | float) -> Fraction:
    """The number that a quantity stands for, exactly. ValueError for what Kubernetes refuses.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    text = str(value).strip()
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"{value!r} is no quantity; expected a number such as 4, 500m, 16Gi or 1e3")
    number, binary, decimal, exponent = match.groups()
    factor = _BINARY[binary] if binary else _DECIMAL[decimal] if decimal else Fraction(10) ** int(exponent or 0)
    return Fraction(number) * factor


def known(value: Any) -> Fraction | None:
    """As `parse`, but None for what a plan doesn't know, or for what is no quantity at all."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return _known(value)


@lru_cache(maxsize=4096)  # a plan has few, many times over
def _known(value: str | float) -> Fraction | None:
    try:
        return parse(value)
    except ValueError:
        return None


def text(resource: str, amount: Fraction) -> str:
    """An amount of a resource for people: `2.8 cpu`, `11.2 GiB memory`, `4 nvidia.com/gpu`."""
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        return f"{round(float(amount) / GIB, 1):g} GiB {resource}"
    return f"{round(float(amount), 2):g} {resource}"
