"""Seeded traffic: requests of programs' words, which may be shifted in one way at a time."""

from __future__ import annotations

import random

from workloads.monitoring.request_log import draw
from workloads.monitoring.tables import Request, Rows, request_row

MONDAY_S = 1_727_654_400.0
"""2024-09-30 00:00 UTC."""
WORDS = [
    "def",
    "return",
    "self",
    "import",
    "class",
    "for",
    "in",
    "range",
    "if",
    "else",
    "while",
    "try",
    "except",
    "lambda",
    "None",
    "True",
    "value",
    "index",
]
RARE = ["quux", "zygote", "xylem", "wharf", "vortex", "kludge", "jackal", "fjord", "glyph", "crypt"]
SHIFTS = ("longer", "digits", "words", "capitals", "harder")


def request(
    number: int,
    time_s: float,
    *,
    shift: str = "",
    loss: float = 2.0,
    version: int = 1,
    seed: int = 0,
    model: str = "lm",
) -> Request:
    chosen = random.Random(f"{seed}-{number}")
    count = chosen.randint(5, 40) * (3 if shift == "longer" else 1)
    words = RARE if shift == "words" else WORDS
    text = " ".join(
        str(chosen.randint(0, 10**6)) if shift == "digits" and i % 3 == 0 else chosen.choice(words)
        for i in range(count)
    )
    text = text.upper() if shift == "capitals" else text
    own = chosen.gauss(loss + (1.0 if shift == "harder" else 0.0), 0.4)
    return Request(f"{seed}-{number}", time_s, model, version, text, bits_per_byte=own)


def rows(requests: list[Request], rate: float = 1.0) -> Rows:
    """As the lake would give them."""
    import numpy as np

    found = [request_row(each, rate=rate, draw=draw(each.id), redact=None) for each in requests]
    columns = {}
    for name in found[0]:
        values = [row[name].timestamp() if name == "time" else row[name] for row in found]
        if name == "embedding":
            columns[name] = np.empty(len(values), object)
            columns[name][:] = [np.asarray(value, np.float32) for value in values]
        elif isinstance(values[0], (int, float)):
            columns[name] = np.array([np.nan if value is None else value for value in values], float)
        elif values[0] is None:
            columns[name] = np.full(len(values), np.nan)
        else:
            columns[name] = np.array(values, object)
    return Rows(columns)
