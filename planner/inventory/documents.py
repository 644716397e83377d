"""Documents in YAML that stand in a plan's values, such as a chart's own configuration."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=256)  # every cluster has the same ones
def parsed(text: str) -> Any:
    """What a document says; not to be changed. None for what is no YAML."""
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        return None
