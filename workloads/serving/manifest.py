"""The manifest of a model version: which files it has, and how to tell that each is whole.

A repository holds one immutable directory a model version, `<model>/<version>/`, and what lies in it is a Triton model
directory with that one version, plus the manifest:

    resnet50/3/manifest.json
    resnet50/3/config.pbtxt
    resnet50/3/3/model.onnx

So two versions may have different configurations, and a version that was exported once is never written again. Upload
`manifest.json` last: a version without one does not exist yet. Its content, with paths relative to that directory:

    {"format": 1, "model": "resnet50", "version": 3,
     "files": [{"path": "3/model.onnx", "bytes": 102400, "sha256": "9f86…"}],
     "provenance": {"git": …, "data": …, "evaluation": …},
     "checksum": "51ab…"}

What an export signs off on is its provenance: of which code, data and checkpoint the version is made, and how well it
did. The checksum is of all the rest of the manifest; a manifest with a provenance must have one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from workloads.serving.errors import ArgumentError, NotInStore, VerificationFailed, on_disk
from workloads.serving.progress import Progress

NAME = "manifest.json"
FORMAT = 1
_PARTIAL = NAME + ".partial"
LARGEST = 16 * 2**20
"""Bytes of the largest manifest that is read: about 100,000 files."""

_READ = 4 * 2**20
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class ModelVersion:
    """A model and its version, written `resnet50:3`."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    @classmethod
    def parse(cls, text: str) -> ModelVersion:
        """Read `name:version`. ArgumentError says what is accepted."""
        name, colon, version = text.rpartition(":")
        if not colon or not _MODEL_NAME.fullmatch(name) or not re.fullmatch(r"[1-9][0-9]{0,17}", version):
            raise ArgumentError(
                f"model {text!r}: expected NAME:VERSION such as resnet50:3, the name of letters, digits, '.', '_' and "
                "'-', the version a whole number from 1"
            )
        return cls(name, int(version))


@dataclass(frozen=True)
class File:
    """One file of a model version; `path` is relative, with forward slashes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a model version consists of."""

    model: ModelVersion
    files: tuple[File, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of and how well it does: JSON, as the export found it."""

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def to_json(self) -> str:
        document = {
            "format": FORMAT,
            "model": self.model.name,
            "version": self.model.version,
            "files": [{"path": f.path, "bytes": f.bytes, "sha256": f.sha256} for f in self.files],
            **({"provenance": self.provenance} if self.provenance else {}),
        }
        return json.dumps({**document, "checksum": _checksum(document)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, expected: ModelVersion, place: str) -> Manifest:
        """Read a manifest, trusting nothing in it. VerificationFailed names `place`, the entry and what is accepted."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise VerificationFailed(f"{place}: not JSON: {error}") from None
        if not isinstance(document, dict):
            raise VerificationFailed(f"{place}: expected a JSON object, found {type(document).__name__}")
        if document.get("format") != FORMAT:
            raise VerificationFailed(f"{place}: format {document.get('format')!r}; this reads format {FORMAT}")
        found = (document.get("model"), document.get("version"))
        if found != (expected.name, expected.version):
            raise VerificationFailed(f"{place}: it is the manifest of {found[0]}:{found[1]}, expected {expected}")
        entries = document.get("files")
        if not isinstance(entries, list) or not entries:
            raise VerificationFailed(f"{place}: 'files' must be a list of at least one file, found {entries!r:.80}")
        files = tuple(_file(entry, f"{place}: files[{i}]", expected.version) for i, entry in enumerate(entries))
        _check_distinct(files, place)
        return cls(expected, files, _provenance(document, place))


def _checksum(document: Mapping[str, Any]) -> str:
    """sha256 of a manifest without its checksum."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _provenance(document: dict[str, Any], place: str) -> Mapping[str, Any]:
    found, said = document.get("provenance", {}), document.pop("checksum", None)
    if not isinstance(found, dict):
        raise VerificationFailed(f"{place}: provenance: expected an object, found {found!r:.80}")
    # Manifests of older exports have neither.
    if (said is not None or found) and said != _checksum(document):
        raise VerificationFailed(f"{place}: its checksum is another: it was changed after it was written")
    return found


def _file(entry: Any, place: str, version: int) -> File:
    if not isinstance(entry, dict):
        raise VerificationFailed(f"{place}: expected an object, found {entry!r:.80}")
    size, digest = entry.get("bytes"), entry.get("sha256")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise VerificationFailed(f"{place}.bytes: {size!r:.80}; expected a whole number from 0")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise VerificationFailed(f"{place}.sha256: {digest!r:.80}; expected 64 lower-case hexadecimal digits")
    return File(_checked_path(entry.get("path"), f"{place}.path", version), size, digest)


def _checked_path(path: Any, place: str, version: int) -> str:
    """A path that stays inside the model's directory and claims nothing of another version."""
    if not isinstance(path, str) or not path or not path.isprintable() or "\\" in path:
        raise VerificationFailed(f"{place}: {path!r:.80}; expected a relative path with forward slashes")
    # Not PurePosixPath.parts, which tidies `a//b` and `./a` away instead of refusing them.
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise VerificationFailed(f"{place}: {path!r:.80} leads outside the model; expected a path without '..' or '/'")
    if path in (NAME, _PARTIAL):
        raise VerificationFailed(f"{place}: {path!r} names the manifest itself")
    if parts[0].isdecimal() and (parts[0] != str(version) or len(parts) == 1):
        raise VerificationFailed(f"{place}: {path!r:.80} is of another version; expected files under '{version}/'")
    return path


def _check_distinct(files: tuple[File, ...], place: str) -> None:
    """No path twice, and none that is a file here and a directory there."""
    paths = {file.path for file in files}
    if len(paths) != len(files):
        twice = next(f.path for i, f in enumerate(files) if f.path in {g.path for g in files[:i]})
        raise VerificationFailed(f"{place}: {twice!r} is listed twice")
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in paths:
                raise VerificationFailed(f"{place}: {str(parent)!r} is a file, and a directory of {path!r}")


# ---- local files


def digest_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> tuple[int, str]:
    """Bytes and sha256 of a local file; `on_bytes` hears of each block. OSError where it cannot be read."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ):
            digest.update(block)
            size += len(block)
            on_bytes(len(block))
    return size, digest.hexdigest()


def is_whole(path: Path, file: File, on_bytes: Callable[[int], None] = lambda _: None) -> bool:
    """Whether a local file is what the manifest says. The size is looked at first: it costs nothing."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return digest_of(path, on_bytes) == (file.bytes, file.sha256)


def write_manifest(directory: Path, model: ModelVersion, provenance: Mapping[str, Any] | None = None) -> Manifest:
    """Describe a local Triton model directory in its `manifest.json`, which appears whole or not at all.

    NotInStore where there is no such directory or nothing in it, VerificationFailed where it holds what a repository
    cannot: links, devices, another version. DiskFailed where a file cannot be read or the manifest not written.
    """
    if not directory.is_dir():
        raise NotInStore(f"{directory}: not a directory; expected a Triton model directory with {model.version}/ in it")
    paths = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise VerificationFailed(f"{path}: a link or a special file; expected plain files only")
        if path.is_file() and path not in (directory / NAME, directory / _PARTIAL):
            _checked_path(path.relative_to(directory).as_posix(), str(path), model.version)
            paths.append(path)
    if not paths:
        raise NotInStore(f"{directory}: no files; expected at least config.pbtxt or {model.version}/<model file>")
    with on_disk(directory):
        progress = Progress(f"{model}: hashing", sum(path.stat().st_size for path in paths))
        files = [File(path.relative_to(directory).as_posix(), *digest_of(path, progress.add)) for path in paths]
        manifest = Manifest(model, tuple(files), provenance or {})
        with (directory / _PARTIAL).open("w", encoding="utf-8") as out:
            out.write(manifest.to_json())
            out.flush()
            os.fsync(out.fileno())
        (directory / _PARTIAL).replace(directory / NAME)
    return manifest
