"""Local files of a watch: written whole or not at all, and read with words for what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workloads import disk
from workloads.monitoring.errors import FileFailed


def write_json(path: Path, value: Any) -> None:
    """Replace a file. Whenever the process is killed, the old or the new is there. Raises FileFailed."""
    try:
        disk.replace(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise FileFailed(f"{error.filename or path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """None if there is no such file. Raises FileFailed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileFailed(f"{error.filename or path}: {error.strerror or error}") from error
    except ValueError as error:
        raise FileFailed(f"{path}: not JSON: {error}") from None
