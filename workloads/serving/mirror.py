"""Copies model versions from one repository to a directory that is a repository too: a region's own, that pods read.

A version is assembled beside its place and renamed into it, manifest and all, once each file has the bytes and the
sha256 that its manifest says. So whoever reads meanwhile finds a version whole or not at all. Two copies at once do not
disturb each other, on a file system of the network either: there is no lock, and who comes second leaves what is there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workloads.serving.errors import ArgumentError, DiskFailed, on_disk
from workloads.serving.fetch import copy_version
from workloads.serving.manifest import NAME, Manifest, ModelVersion, is_whole
from workloads.serving.progress import Progress, gib
from workloads.serving.signing import NAME as SIGNATURE
from workloads.serving.store import Repository

_STAGING = ".mirror-"


def mirror(
    source: str, destination: Path, models: Sequence[ModelVersion], *, connections: int = 16, part_bytes: int = 2**24
) -> int:
    """Have `models` in `destination`, laid out as a repository. Returns the bytes that had to be read.

    A version that is there is verified against its manifest, and read again only where it differs from it. Raises a
    ServingError that names the file and the reason; every version in `destination` is then as it was.
    """
    if connections < 1 or part_bytes < 1:
        raise ArgumentError(f"connections {connections}, part_bytes {part_bytes}: expected at least 1 of each")
    repository = Repository(source)
    manifests = [repository.manifest(model) for model in sorted(set(models))]
    read = 0
    with on_disk(destination), ThreadPoolExecutor(connections) as pool:
        destination.mkdir(parents=True, exist_ok=True)
        missing = [manifest for manifest in manifests if not _there(destination, manifest, pool)]
        needed = sum(manifest.total_bytes for manifest in missing)
        if needed > (free := shutil.disk_usage(destination).free):
            raise DiskFailed(f"{destination}: {gib(needed)} are needed, {gib(free)} are free")
        progress = Progress(repository.url, needed)
        for manifest in missing:
            with tempfile.TemporaryDirectory(dir=destination, prefix=_STAGING) as work:
                version = Path(work) / "version"
                copy_version(repository, manifest, version, pool, connections, part_bytes, progress)
                (version / NAME).write_text(manifest.to_json(), encoding="utf-8")
                if (signature := repository.signature(manifest.model)) is not None:
                    (version / SIGNATURE).write_bytes(signature)
                if _put(version, _place(destination, manifest), Path(work) / "old"):
                    read += manifest.total_bytes
    return read


def _place(destination: Path, manifest: Manifest) -> Path:
    return destination / manifest.model.name / str(manifest.model.version)


def _there(destination: Path, manifest: Manifest, pool: ThreadPoolExecutor) -> bool:
    """Whether a version is in its place, verified byte for byte, with the manifest that it has at its source."""
    place = _place(destination, manifest)
    if not (place / NAME).is_file() or (place / NAME).read_text(encoding="utf-8") != manifest.to_json():
        return False
    files = {place / file.path: file for file in manifest.files}
    progress = Progress(f"verifying {manifest.model}", manifest.total_bytes)
    return all(pool.map(lambda path: is_whole(path, files[path], progress.add), files))


def _put(version: Path, place: Path, aside: Path) -> bool:
    """Rename a version into its place; what is there, and differs, goes. False if another copy was faster."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        # Broken, or of an older format: that it was read from here was noticed by whoever verified it.
        place.rename(aside)
    try:
        version.rename(place)
    except OSError:
        if place.exists():
            return False
        raise
    return True
