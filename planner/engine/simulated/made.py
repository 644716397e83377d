"""Made-up but reproducible names: every id, key and address of the simulated cloud is a hash of what it belongs to."""

from __future__ import annotations

import base64
import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

ACCOUNT = "123456789012"
"""The AWS account of the simulated cloud: the one that AWS's own documentation uses."""

PROJECT = "sim-project"
"""The Google Cloud project of the simulated cloud, where the program names none."""

AWS_REGION = "us-east-1"
GCP_REGION = "us-central1"
"""Where things are when neither the program nor its provider says."""

MOMENT = "2026-01-01T00:00:00Z"
"""When everything in the simulated cloud happened. A clock would make two previews differ."""

_BASE36 = string.ascii_lowercase + string.digits


def digest(*parts: str) -> bytes:
    """64 bytes that depend on `parts` and on nothing else."""
    return hashlib.sha512("\x1f".join(parts).encode()).digest()


@dataclass(frozen=True)
class Made:
    """One thing of the simulated cloud, and the names that follow from it.

    Templates (`format`) may use its inputs, its fields and properties, and made-up parts: `hex17`, `upper13`,
    `lower10`, `digits12` (of any length), `uuid`, `public_ip` and `private_ip`.
    """

    token: str
    seed: str
    """What tells it from all others: a URN, or an invoke's token and arguments."""
    base: str
    """The logical name, from which a physical one is made where the program gives none."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    region: str = AWS_REGION
    account: str = ACCOUNT
    project: str = PROJECT
    name: str = ""
    id: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Further names for templates, such as a path with its default."""

    @property
    def package(self) -> str:
        return self.token.split(":", 1)[0]

    @property
    def service(self) -> str:
        """`ec2` in `aws:ec2/vpc:Vpc`."""
        return self.token.split(":")[1].split("/")[0]

    @property
    def kind(self) -> str:
        """`Vpc` in `aws:ec2/vpc:Vpc`."""
        return self.token.rsplit(":", 1)[-1]

    @property
    def label(self) -> str:
        """A name that can be part of a host name."""
        text = (self.name or self.base).rsplit("/", 1)[-1].lower()
        return re.sub(r"[^a-z0-9-]+", "-", text).strip("-") or "x"

    @property
    def thing(self) -> str:
        """The kind as ARNs write it: `launch-template`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", self.kind).lower()

    @property
    def partition(self) -> str:
        return partition(self.region)

    @property
    def suffix(self) -> str:
        return dns_suffix(self.region)

    @property
    def zone(self) -> str:
        return f"{self.region}-a" if self.package == "gcp" else f"{self.region}a"

    def named(self, *keys: str) -> Made:
        """The same with its physical name: the first text among the inputs `keys`, or `<base>-<7 hex digits>`."""
        for key in keys:
            if isinstance(value := self.inputs.get(key), str) and value:
                return replace(self, name=value)
            if isinstance(prefix := self.inputs.get(f"{key}Prefix"), str) and prefix:
                return replace(self, name=prefix + self.hex(20))
        return replace(self, name=f"{self.base}-{self.hex(7)}")

    def knowing(self, *, id: str = "", **parts: str) -> Made:
        """The same with its id, and with further names for templates."""
        return replace(self, id=id or self.id, parts={**self.parts, **parts})

    @cached_property
    def _seeded(self) -> str:
        return f"{self.token}\x1f{self.seed}"

    def hex(self, length: int, *salt: str) -> str:
        return digest(self._seeded, *salt).hex()[:length]

    def lower(self, length: int, *salt: str) -> str:
        """Lower-case letters and digits, a letter first."""
        chosen = [_BASE36[byte % 36] for byte in digest(self._seeded, "lower", *salt)[:length]]
        chosen[0] = string.ascii_lowercase[ord(chosen[0]) % 26]
        return "".join(chosen)

    def upper(self, length: int, *salt: str) -> str:
        return self.lower(length, *salt).upper()

    def digits(self, length: int, *salt: str) -> str:
        """Decimal digits, the first not zero."""
        number = str(int.from_bytes(digest(self._seeded, "digits", *salt)))
        return number.lstrip("0")[:length]

    def uuid(self, *salt: str) -> str:
        h = self.hex(32, "uuid", *salt)
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"

    def octet(self, *salt: str) -> int:
        """1 to 254."""
        return digest(self._seeded, "octet", *salt)[0] % 254 + 1

    def public_ip(self, *salt: str) -> str:
        """From 203.0.113.0/24, which RFC 5737 keeps for documentation."""
        return f"203.0.113.{self.octet('public', *salt)}"

    def private_ip(self, *salt: str) -> str:
        return f"10.0.{self.octet('net', *salt)}.{self.octet('host', *salt)}"

    def base64(self, length: int, *salt: str) -> str:
        """`length` bytes in base64."""
        data = b"".join(digest(self._seeded, "base64", *salt, str(i)) for i in range(length // 64 + 1))
        return base64.b64encode(data[:length]).decode()

    def pem(self, label: str, length: int = 600, *salt: str) -> str:
        """Text in PEM armour. It parses as PEM; what is inside is noise, no key or certificate."""
        text = self.base64(length, label, *salt)
        lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
        return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"

    def certificate_authority(self) -> str:
        """What a cluster answers as its CA: a PEM certificate in base64."""
        return base64.b64encode(self.pem("CERTIFICATE").encode()).decode()

    def format(self, template: str) -> str:
        """Fill in a template; a name that is neither known nor an input stands for something made up."""
        return template.format_map(_Fields(self))


_OWN = frozenset("name label id region zone account project partition suffix service thing".split())  # noqa: SIM905
_PART = re.compile(r"(hex|upper|lower|digits)(\d+)$")


class _Fields(dict[str, str]):
    """The names that a template may use, made when asked for."""

    def __init__(self, made: Made) -> None:
        self.made = made

    def __missing__(self, key: str) -> str:
        made = self.made
        if key in made.parts:
            return made.parts[key]
        if key in _OWN:
            return getattr(made, key)
        if key in ("public_ip", "private_ip", "uuid"):
            return getattr(made, key)()
        if isinstance(value := made.inputs.get(key), str | int | float):
            return str(value)
        if part := _PART.match(key):
            return getattr(made, part[1])(int(part[2]))
        # A reference that the program left out: made up, but the same wherever this thing is spoken of.
        return f"{key}-{made.hex(8, key)}"


def under_id(outputs: Mapping[str, Any], made: str, given: str) -> dict[str, Any]:
    """`outputs` of something that the program knows by the id `given`: it stands wherever the made-up id stood."""
    if not made or not given or made == given:
        return dict(outputs)

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(made, given)
        if isinstance(value, Mapping):
            return {key: replaced(item) for key, item in value.items()}
        return [replaced(item) for item in value] if isinstance(value, list) else value

    return replaced(outputs)


def partition(region: str) -> str:
    """`aws`, `aws-cn`, ... (AWS General Reference, "Amazon Resource Names")."""
    for prefix, name in {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}.items():
        if region.startswith(prefix):
            return name
    return "aws"


def dns_suffix(region: str) -> str:
    return {"aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu"}.get(partition(region), "amazonaws.com")
