"""What is asked and what is answered, whichever protocol carries it; and where."""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.serving.errors import ArgumentError

Tensor = NDArray[Any]
Parameter = str | int | bool | float
SCHEMES = {"grpc": 8001, "grpcs": 443, "http": 8000, "https": 443}
EXPECTED = "expected grpc://HOST:PORT, grpcs://, http:// or https://"


@dataclass(frozen=True)
class Endpoint:
    """A server, or what stands before several: a Service or a region's gateway."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """From `grpc://host:8001`. ArgumentError otherwise."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise ArgumentError(f"endpoint {url!r}: {EXPECTED}") from None
        if parts.scheme not in SCHEMES or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ArgumentError(f"endpoint {url!r}: {EXPECTED}")
        return cls(parts.scheme, parts.hostname, port or SCHEMES[parts.scheme])

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


@dataclass(frozen=True)
class Request:
    """`inputs` by name: numpy arrays, batch axis included where the model has one; of dtype object for strings."""

    model: str
    inputs: Mapping[str, Tensor]
    version: str = ""
    """Empty: as the server's version policy says, which is the newest by default."""
    outputs: tuple[str, ...] = ()
    """Which are wanted; empty: all."""
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """As Triton's request parameters, such as `max_tokens`."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, inputs: Mapping[str, object], version: str | int = "", **options: Any) -> Request:
        """With strings, bytes, numbers and lists of them made into arrays of at least one axis."""
        if not model:
            raise ArgumentError("model '': expected its name")
        made = {name: tensor(name, value) for name, value in inputs.items()}
        return cls(model, made, str(version), **options)


def tensor(name: str, value: object) -> Tensor:
    """An array as Triton takes it; ArgumentError for what has no type there."""
    array = value if isinstance(value, np.ndarray) else np.atleast_1d(np.asarray(_strings(value)))
    if array.dtype.kind == "S" or array.dtype.kind == "U":
        array = array.astype(object)
    known = array.dtype.kind in "biufV" or (
        array.dtype == object and all(isinstance(item, str | bytes) for item in array.reshape(-1))
    )
    if not known:
        raise ArgumentError(f"input {name!r}: dtype {array.dtype}; expected numbers, booleans, strings or bytes")
    return array


def _strings(value: object) -> object:
    """Strings as objects: numpy's own string types drop zero bytes at the end."""
    if isinstance(value, str | bytes):
        return np.array([value], dtype=object)
    if isinstance(value, Sequence) and value and isinstance(value[0], str | bytes):
        return np.array(value, dtype=object)
    return value


@dataclass(frozen=True)
class Answer:
    """`outputs` by name, as numpy arrays; strings as bytes objects."""

    outputs: Mapping[str, Tensor]
    model: str
    version: str
    id: str = ""
    endpoint: str = ""
    attempts: int = 1
    """Of this request until this answer, hedges included."""

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.outputs[name]
        except KeyError:
            raise ArgumentError(f"output {name!r} of {self.model!r}: expected one of {sorted(self.outputs)}") from None

    def text(self, name: str) -> str:
        """The first string of an output; what is no UTF-8 is replaced, since a token may end within a character."""
        value = self[name].reshape(-1)[0]
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def digest(self) -> bytes:
        """Of the outputs. Strings are told apart by their lengths."""
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self.outputs.items()):
            digest.update(f"{name}:{value.shape}:{value.dtype}:".encode())
            if value.dtype == object:
                for item in value.reshape(-1):
                    data = item if isinstance(item, bytes) else str(item).encode()
                    digest.update(f"{len(data)}:".encode() + data)
            else:
                digest.update(value.tobytes())
        return digest.digest()


class Transport(Protocol):
    """One endpoint over one protocol. Every method raises Failure, and nothing else, when the endpoint fails."""

    async def infer(self, request: Request, timeout_s: float) -> Answer: ...

    def stream(self, request: Request, timeout_s: float) -> AsyncGenerator[Answer, None]:
        """Responses as they come. Closing the generator cancels the request at the server."""
        ...

    async def ready(self, timeout_s: float) -> bool:
        """Whether the server is ready, as a readiness probe has it; no Failure."""
        ...

    async def close(self) -> None: ...
