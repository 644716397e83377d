"""Writes model versions: a typed configuration, the files, a manifest; in a directory that appears whole or not at all.

    REPOSITORY/<model>/<version>/manifest.json, config.pbtxt, <version>/…

REPOSITORY is a directory or an object store. A version is never written again; the next one has the next number.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from workloads.disk import sync
from workloads.serving.errors import ArgumentError, NotInStore, VerificationFailed, on_disk
from workloads.serving.manifest import LARGEST, NAME, Manifest, ModelVersion, is_whole, write_manifest
from workloads.serving.signing import NAME as SIGNATURE
from workloads.serving.store import Bucket

CONFIG = "config.pbtxt"
STRING, BOOL, UINT32 = pb.TYPE_STRING, pb.TYPE_BOOL, pb.TYPE_UINT32
QUEUE = 256
"""Requests that wait for a language model at most; one more is refused at once, so that its client asks elsewhere."""


def language_model_config(name: str, queue: int = QUEUE) -> pb.ModelConfig:
    """The configuration of `workloads.serving.models.language_model`; asked as Triton's vLLM backend is."""
    optional = (
        ("stream", BOOL),
        ("sampling_parameters", STRING),
        ("exclude_input_in_output", BOOL),
        ("return_finish_reason", BOOL),
        ("return_num_output_tokens", BOOL),
    )
    return pb.ModelConfig(
        name=name,
        backend="python",
        # The batch is the engine's: Triton hands requests over one at a time. It keeps a queue with a limit only for
        # models that it could batch.
        max_batch_size=1,
        input=[
            pb.ModelInput(name="text_input", data_type=STRING, dims=[1]),
            *(pb.ModelInput(name=field, data_type=kind, dims=[1], optional=True) for field, kind in optional),
        ],
        output=[
            pb.ModelOutput(name="text_output", data_type=STRING, dims=[1]),
            pb.ModelOutput(name="finish_reason", data_type=STRING, dims=[1]),
            pb.ModelOutput(name="num_output_tokens", data_type=UINT32, dims=[1]),
        ],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
        # Of CPUs and GPUs alike: the engine chooses its device, and has one cache.
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
        dynamic_batching=pb.ModelDynamicBatching(
            # No timeout: with one, the batcher stands still for half a second at a time (2.51, measured).
            default_queue_policy=pb.ModelQueuePolicy(max_queue_size=queue)
        ),
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
    )


def read_config(text: str, place: str) -> pb.ModelConfig:
    """A config.pbtxt; VerificationFailed, with line and column, where a field is unknown or of another type."""
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        raise VerificationFailed(f"{place}: {error}") from None


def check_version(directory: Path, model: ModelVersion) -> None:
    """Refuse what Triton would not load, or would hang on, as it does on a Python model without its program.

    `directory`: the model's, with `config.pbtxt` and the version's directory. Raises VerificationFailed.
    """
    with on_disk(directory / CONFIG):
        config = read_config((directory / CONFIG).read_text(encoding="utf-8"), str(directory / CONFIG))
    if config.name not in ("", model.name):
        raise VerificationFailed(f"{directory / CONFIG}: it is of {config.name!r}, expected {model.name!r}")
    if config.backend == "python":
        program = directory / str(model.version) / (config.default_model_filename or "model.py")
        if not program.is_file():
            raise VerificationFailed(f"{program}: it is missing, and Triton's Python backend starts it")


def write_version(
    repository: str,
    name: str,
    config: pb.ModelConfig,
    fill: Callable[[Path], None],
    provenance: Mapping[str, Any],
    version: int | None = None,
) -> tuple[ModelVersion, Manifest]:
    """Write one more version of a model, or exactly `version`; `fill` puts its files into the directory it is given.

    Raises ArgumentError if that version exists, DiskFailed, StoreFailed, and what `fill` raises: then nothing is there.
    """
    assert config.name == name, "a configuration of another model"
    ModelVersion.parse(f"{name}:1")
    target = _target(repository)
    with contextlib.ExitStack() as stack:
        work = target.work(stack)
        model = ModelVersion(name, version or target.newest(name) + 1)
        if version and target.has(model):
            raise ArgumentError(f"{target.place(model)}: it exists; versions are never written again")
        directory = work / str(model.version)
        with on_disk(directory):
            directory.mkdir(parents=True)
            inner = directory / str(model.version)
            inner.mkdir()
            (directory / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        fill(inner)
        check_version(directory, model)
        manifest = write_manifest(directory, model, provenance)
        target.put(directory, model)
        return model, manifest


def newest(repository: str, name: str) -> int:
    """The highest version of a model, 0 if there is none."""
    return _target(repository).newest(name)


def publish(source: Path, repository: str, model: ModelVersion, signature: bytes | None = None) -> str:
    """Copy a version from a repository on the local disk to another, once, with its signature; returns its place.

    Of the same version that is there already nothing is written again, and what a copy that was killed has left is
    completed. Raises ArgumentError where another one is there, NotInStore, VerificationFailed, DiskFailed, StoreFailed.
    """
    place = source / model.name / str(model.version)
    with on_disk(place):
        try:
            text = (place / NAME).read_bytes()
        except FileNotFoundError:
            raise NotInStore(f"{place / NAME}: it is not there") from None
    manifest = Manifest.from_json(text, model, str(place / NAME))
    if broken := [file.path for file in manifest.files if not is_whole(place / file.path, file)]:
        raise VerificationFailed(f"{place / broken[0]}: not what the manifest says")
    target = _target(repository)
    known = target.manifest(model)
    if known is None:
        with contextlib.ExitStack() as stack:
            copy = target.work(stack) / str(model.version)
            with on_disk(copy):
                shutil.copytree(place, copy)
                if signature is not None:
                    (copy / SIGNATURE).write_bytes(signature)
            target.put(copy, model)
    elif known != text:
        raise ArgumentError(f"{target.place(model)}: another version is there; versions are never written again")
    return target.place(model)


def _target(repository: str) -> _Directory | _Objects:
    return _Directory(repository) if "://" not in repository else _Objects(repository)


def _highest(names: list[str]) -> int:
    return max((int(name) for name in names if name.isdecimal() and not name.startswith("0")), default=0)


class _Directory:
    """A repository on a local disk."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()

    def work(self, stack: contextlib.ExitStack) -> Path:
        """A directory on the same file system, so that its content can be renamed into place."""
        with on_disk(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._path, prefix=".writing-")))

    def newest(self, name: str) -> int:
        with on_disk(self._path):
            directory = self._path / name
            return _highest([path.name for path in directory.iterdir()]) if directory.is_dir() else 0

    def has(self, model: ModelVersion) -> bool:
        return (self._path / model.name / str(model.version)).exists()

    def manifest(self, model: ModelVersion) -> bytes | None:
        """The manifest of a version that is there."""
        path = self._path / model.name / str(model.version) / NAME
        with on_disk(path):
            return path.read_bytes() if path.is_file() else None

    def place(self, model: ModelVersion) -> str:
        return str(self._path / model.name / str(model.version))

    def put(self, directory: Path, model: ModelVersion) -> None:
        """Rename it into place. Two exports at once: the second finds the place taken, and says so."""
        target = self._path / model.name / str(model.version)
        with on_disk(target):
            for path in (*(p for p in directory.rglob("*")), directory):
                sync(path)
            target.parent.mkdir(exist_ok=True)
            try:
                directory.rename(target)
            except OSError:
                if target.exists():
                    raise ArgumentError(f"{target}: it exists; versions are never written again") from None
                raise
            sync(target.parent)


class _Objects:
    """A repository in an object store."""

    def __init__(self, url: str) -> None:
        self._bucket = Bucket(url)

    def work(self, stack: contextlib.ExitStack) -> Path:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="export-")))

    def newest(self, name: str) -> int:
        return _highest(self._bucket.names(name))

    def has(self, model: ModelVersion) -> bool:
        return str(model.version) in self._bucket.names(model.name)

    def manifest(self, model: ModelVersion) -> bytes | None:
        return self._bucket.find(f"{model.name}/{model.version}/{NAME}", LARGEST)

    def place(self, model: ModelVersion) -> str:
        return f"{self._bucket.url}/{model.name}/{model.version}"

    def put(self, directory: Path, model: ModelVersion) -> None:
        """Files first, the manifest last: until then the version does not exist."""
        prefix = f"{model.name}/{model.version}"
        # Only one of two exports at once gets past this; the other has written nothing yet. One that was killed here
        # goes on if it brings the same.
        claim = hashlib.sha256((directory / NAME).read_bytes()).hexdigest().encode()
        if (
            not self._bucket.create(f"{prefix}/.claimed", claim)
            and self._bucket.find(f"{prefix}/.claimed", 64) != claim
        ):
            raise ArgumentError(f"{self.place(model)}: it exists, or another export writes it; take another version")
        for path in sorted(path for path in directory.rglob("*") if path.is_file() and path.name != NAME):
            self._bucket.put(f"{prefix}/{path.relative_to(directory).as_posix()}", path)
        self._bucket.put(f"{prefix}/{NAME}", directory / NAME)
