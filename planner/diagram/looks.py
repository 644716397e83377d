"""Colours: for dark ink on a light page, so that the picture reads the same wherever it is put."""

from __future__ import annotations

from dataclasses import dataclass

PAGE, INK, QUIET = "#ffffff", "#0f172a", "#475569"


@dataclass(frozen=True, slots=True)
class Look:
    """How a box is drawn."""

    fill: str
    edge: str
    ink: str = INK
    """Colour of the title."""
    weight: float = 1.0
    radius: float = 6.0
    dash: str = ""


_BY_KIND = {
    "cloud": Look("#f8fafc", "#94a3b8", weight=1.2, radius=12),
    "region": Look("#ffffff", "#64748b", weight=1.4, radius=10),
    "endpoint": Look("#ecfdf5", "#0f766e", "#0f766e"),
    "network": Look("#f8fafc", "#94a3b8", "#334155", dash="5 3", radius=8),
    "cluster": Look("#ffffff", "#1e293b", weight=1.4, radius=8),
    "workload": Look("#0f766e", "#0f766e", "#ffffff"),
    "rest": Look("#ffffff", "#94a3b8", QUIET, dash="3 3"),
    "name": Look("#0f172a", "#0f172a", "#ffffff", radius=8),
    "entry": Look("#ecfdf5", "#0f766e", "#0f766e", weight=1.4, radius=8),
    "replica": Look("#f1f5f9", "#475569", "#334155", dash="5 3", weight=1.2, radius=8),
    "group": Look("#f8fafc", "#cbd5e1", QUIET),
    "pool": Look("#ffffff", "#64748b", "#334155"),
    "tier": Look("#f8fafc", "#64748b", "#334155"),
}
_BY_LOOK = {
    "aws": Look("#fff7ed", "#c2410c", "#9a3412", weight=1.4, radius=12),
    "gcp": Look("#eff6ff", "#1d4ed8", "#1e40af", weight=1.4, radius=12),
    "client": Look("#ffffff", "#0f172a", radius=18),
    "training": Look("#faf5ff", "#9333ea", "#6b21a8"),
    "serving": Look("#ecfdf5", "#0f766e", "#0f766e"),
    "system": Look("#f1f5f9", "#94a3b8", "#475569"),
    "hot": Look("#fef2f2", "#dc2626", "#991b1b", weight=1.2),
    "warm": Look("#fffbeb", "#d97706", "#92400e", weight=1.2),
    "cold": Look("#f0f9ff", "#0284c7", "#075985", weight=1.2),
}
FLOWS = {
    "requests": ("#0f766e", ""),
    "models": ("#0369a1", "5 3"),
    "data": ("#9333ea", ""),
    "replication": ("#475569", "7 4"),
}
"""Kind of flow -> colour, dashes."""
RUNGS = {
    "reservation": "#6d28d9",
    "capacity-block": "#2563eb",
    "flex-start": "#0891b2",
    "spot": "#f59e0b",
    "on-demand": "#334155",
}
_WHITE_ON = ("workload", "name")


def look_of(kind: str, look: str) -> Look:
    """How a box of a kind is drawn, for a cloud, purpose or tier."""
    if kind in ("cloud", "tier", "name") and look in _BY_LOOK:
        return _BY_LOOK[look]
    if kind == "region" and look in _BY_LOOK:
        return Look("#ffffff", _BY_LOOK[look].edge, _BY_LOOK[look].ink, 1.4, 10)
    if kind == "workload" and look == "training":
        return Look("#7e22ce", "#7e22ce", "#ffffff")
    if kind in ("group", "pool") and look in _BY_LOOK:
        by = _BY_LOOK[look]
        return Look(by.fill if kind == "group" else "#ffffff", by.edge, by.ink)
    return _BY_KIND.get(kind, _BY_LOOK.get(look, Look(PAGE, QUIET)))


def ink(kind: str, look: str, tone: str) -> str:
    """Colour of a text in a box."""
    own = look_of(kind, look)
    if own.ink == "#ffffff":
        return own.ink
    return own.ink if tone == "title" else QUIET if tone in ("note", "fact") else INK
