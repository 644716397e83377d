"""What a checkpoint is on disk: a directory whose marker names every file, its size and its checksum.

    DIR/step-00001234/committed.json     the marker, written last
    DIR/step-00001234/.metadata          torch.distributed.checkpoint's own
    DIR/step-00001234/__0_0.distcp       the tensors that rank 0 wrote
    DIR/step-00001234/rank_0.json        its random states
    DIR/step-00001240.4f1c….partial/     being written, or left by a run that was killed

A directory gets its name by one rename, after everything in it, and the directory itself, is on the medium. The marker
is checked all the same: against disks that lie, copies that were cut short, and bits that flip.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import xxhash

from workloads.disk import sync

CHECKPOINTS = "checkpoints"
"""Where a run keeps them, in its output directory."""
MARKER = "committed.json"
METADATA = ".metadata"
FORMAT = 1
PARTIAL, REPLACED, DELETED = ".partial", ".replaced", ".deleted"
_STEP = re.compile(r"step-(\d{8,})")
_CHUNK = 2**22


class Invalid(ValueError):
    """A directory is no checkpoint that could be loaded; the message says why."""


def name(step: int) -> str:
    return f"step-{step:08d}"


def step_of(directory: str) -> int | None:
    """The step that a directory's name says, None for other names, also for what is partial or being deleted."""
    found = _STEP.fullmatch(directory)
    return int(found[1]) if found else None


def digest(path: Path) -> str:
    """xxh3 with 128 bits: 5 GiB/s on a core, where sha256 does 0.7 and crc32 1.5.

    It is to find damage, not malice: whoever can write here can write a marker as well, so nothing more is gained from
    a cryptographic hash, and 128 bits leave no damage to chance.
    """
    hashed = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


@dataclass(frozen=True)
class File:
    bytes: int
    xxh3_128: str

    @classmethod
    def of(cls, path: Path) -> File:
        return cls(path.stat().st_size, digest(path))


@dataclass(frozen=True)
class Marker:
    """What a checkpoint consists of. `sequence` counts a run's commits: after a roll back, newer has the lower step."""

    step: int
    sequence: int
    id: str
    world_size: int
    files: Mapping[str, File]
    extra: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, int]:
        return self.sequence, self.step

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files.values())

    def to_json(self) -> bytes:
        content = {
            "format": FORMAT,
            "step": self.step,
            "sequence": self.sequence,
            "id": self.id,
            "world_size": self.world_size,
            "files": {name: vars(file) for name, file in sorted(self.files.items())},
            "extra": self.extra,
        }
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Marker:
        """Raises Invalid if it is not what `to_json` wrote, to the byte."""
        try:
            content = json.loads(text)
            checksum = content.pop("checksum")
            if content["format"] != FORMAT:
                raise Invalid(f"{MARKER} has format {content['format']!r}; expected {FORMAT}")
            if checksum != _checksum(content):
                raise Invalid(f"{MARKER} has been altered: its checksum is another")
            files = {name: File(**file) for name, file in content["files"].items()}
            return cls(
                content["step"], content["sequence"], content["id"], content["world_size"], files, content["extra"]
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, Invalid):
                raise
            raise Invalid(f"{MARKER} is not readable ({type(error).__name__}: {error})") from None


def _checksum(content: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())


def read_marker(directory: Path) -> Marker:
    """The marker of a checkpoint. Raises Invalid if there is none or it cannot be trusted."""
    try:
        text = (directory / MARKER).read_bytes()
    except FileNotFoundError:
        raise Invalid(f"{MARKER} is missing: it was never committed") from None
    except OSError as error:
        raise Invalid(f"{MARKER} cannot be read: {error.strerror}") from None
    marker = Marker.from_json(text)
    if step_of(directory.name) not in (None, marker.step):
        raise Invalid(f"{MARKER} is of step {marker.step}")
    return marker


def fault(path: Path, expected: File, *, read: bool = True) -> str:
    """Why a file is not what the marker says, empty if it is. Without `read`, only its size is looked at."""
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            return f"{path.name} has {size} bytes instead of {expected.bytes}"
        if read and digest(path) != expected.xxh3_128:
            return f"{path.name} has another checksum: it is corrupt"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return ""


def verify(directory: Path, *, read: bool = True, part: bool = False) -> Marker:
    """The marker of a checkpoint that is whole. Raises Invalid with the first fault.

    Without `read`, sizes suffice. `part`: of a node's own disk, files may be missing, which other nodes have.
    """
    marker = read_marker(directory)
    for file, expected in marker.files.items():
        if part and not (directory / file).exists():
            continue
        if found := fault(directory / file, expected, read=read):
            raise Invalid(found)
    return marker


def steps(directory: Path) -> list[Path]:
    """What looks like checkpoints, committed or not, the highest step first."""
    found = [path for path in directory.iterdir() if step_of(path.name) is not None and path.is_dir()]
    return sorted(found, key=lambda path: step_of(path.name) or 0, reverse=True)


def write(path: Path, data: bytes) -> None:
    """A file with these bytes, on the medium."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        sync_file(file)


def sync_file(file: IO[bytes]) -> None:
    os.fsync(file.fileno())


def commit(partial: Path, marker: Marker) -> Path:
    """Write the marker and give the directory its name. At every moment before the rename, the old state holds."""
    final = partial.parent / name(marker.step)
    write(partial / MARKER, marker.to_json())
    sync(partial)
    replaced = final.with_name(final.name + REPLACED)
    if final.exists():
        # The same step once more, after a roll back. Between the two renames, `tidy` would put the old one back.
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    partial.rename(final)
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return final


def remove(directory: Path) -> None:
    """Delete a checkpoint: gone under its name at once, so that none is ever seen half deleted."""
    doomed = directory.with_name(directory.name + DELETED)
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        directory.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def tidy(directory: Path) -> list[Path]:
    """Take away what a killed run left, and put back what it was about to replace. Returns what was taken away."""
    gone = []
    for path in directory.iterdir():
        if path.name.endswith(REPLACED) and step_of(path.name.removesuffix(REPLACED)) is not None:
            original = path.with_name(path.name.removesuffix(REPLACED))
            if not original.exists():
                path.rename(original)
                continue
        elif not (path.name.startswith("step-") and path.name.endswith((PARTIAL, DELETED))):
            continue
        shutil.rmtree(path, ignore_errors=True)
        gone.append(path)
    sync(directory)
    return gone


@contextlib.contextmanager
def in_use(directory: Path) -> Iterator[None]:
    """While this is held, no process on this machine deletes the checkpoint."""
    with (directory / MARKER).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_in_use(directory: Path) -> bool:
    try:
        with (directory / MARKER).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def retain(directory: Path, keep: int, busy: frozenset[str] = frozenset(), part: bool = False) -> list[Path]:
    """Delete what is older than the `keep` newest. Returns what was deleted.

    What has no sound marker or files of another size counts for nothing and goes as well. What somebody loads
    (`in_use`), and what is in `busy`, ids of those that are uploaded and of one that is known to be valid, stays.
    """
    whole, broken = [], []
    for path in steps(directory):
        try:
            whole.append((verify(path, read=False, part=part), path))
        except Invalid:
            broken.append(path)
    whole.sort(key=lambda found: found[0].order, reverse=True)
    doomed = [path for marker, path in whole[keep:] if marker.id not in busy]
    gone = [path for path in doomed + (broken if whole else []) if not is_in_use(path)]
    for path in gone:
        remove(path)
    return gone
