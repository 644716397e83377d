"""Local files of a watch: written whole or not at all, and read with words for what is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from workloads.monitoring.errors import FileFailed


def write_json(path: Path, value: Any) -> None:
    """Replace a file. Whenever the process is killed, the old or the new is there. Raises FileFailed."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
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
