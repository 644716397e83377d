"""What a single value may be: each function returns the value, or raises ValueError with what is accepted instead."""

from __future__ import annotations

import ipaddress
import re
from typing import TypeVar

from components.accelerators import REGIONS
from stacks.problems import did_you_mean

V = TypeVar("V")

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""RFC 1918."""


def _matches(pattern: str, value: str, accepted: str) -> str:
    if not re.fullmatch(pattern, value):
        raise ValueError(accepted)
    return value


def text(value: str) -> str:
    return _matches(r"\S(.*\S)?", value, "text that is not empty and has no spaces around it")


def place(value: str) -> str:
    cloud, _, name = value.partition(":")
    if cloud not in REGIONS or not name:
        raise ValueError("a cloud and its region, such as aws:us-east-1 or gcp:europe-west4")
    if name not in REGIONS[cloud]:
        raise ValueError(f"a region of {cloud}: {did_you_mean(name, REGIONS[cloud])}")
    return value


def billing_account(value: str) -> str:
    return _matches(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}", value, "a billing account, such as 01AB23-45CD67-89EF01")


def region_cidr(value: str) -> str:
    network = _network(value)
    if network is None or not any(network.subnet_of(private) for private in _PRIVATE):
        raise ValueError(
            "a private IPv4 network (in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16), such as 10.16.0.0/16"
        )
    if not 16 <= network.prefixlen <= 20:
        raise ValueError("a network from /16 to /20: smaller ones have no room for three zones of pods")
    return value


def client_cidr(value: str) -> str:
    network = _network(value)
    if network is None or network.prefixlen < 8:
        raise ValueError("an IPv4 network of known clients, such as 203.0.113.0/24; not the whole internet")
    return value


def _network(value: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(value) if "/" in value else None
    except ValueError:
        return None


def pool_name(value: str) -> str:
    # GKE limits a node pool's name to 40 characters, of which the ladder's rung takes a part
    return _matches(r"[a-z]([-a-z0-9]{0,22}[a-z0-9])?", value, "1 to 24 of a-z, 0-9 and -, beginning with a letter")


def model_group(value: str) -> str:
    # the name of a server and of its group together are the name of a Service
    return _matches(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?", value, "1 to 20 of a-z, 0-9 and -, beginning with a letter")


def dns_label(value: str) -> str:
    return _matches(_LABEL, value, "1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -")


def domain(value: str) -> str:
    return _matches(rf"({_LABEL}\.)+[a-z]{{2,63}}", value, "a domain in lower case, such as inference.example.com")


def hosted_zone_id(value: str) -> str:
    return _matches(r"Z[A-Z0-9]{7,31}", value, "the id of a Route 53 hosted zone, such as Z0123456789EXAMPLE")


def address(value: str) -> str:
    return _matches(r"https://[\w.-]+(:\d+)?(/[!-~]*)?", value, "an https:// address")


def host_and_port(value: str) -> str:
    return _matches(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?:\d{2,5}", value, "a host and its port, such as smtp.example.com:587"
    )


def channel(value: str) -> str:
    return _matches(r"#[a-z0-9_-]{1,80}", value, 'a channel in quotes, such as "#ml-alerts"')


def path(value: str) -> str:
    return _matches(r"/[!-~]*", value, "a path that begins with /, such as /v2/health/ready")


def image(value: str) -> str:
    accepted = "an image with a tag other than latest, or with a digest, such as registry.example.com/serving:0.1.0"
    _matches(r"[a-z0-9][\w.:/-]*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})", value, accepted)
    if value.endswith(":latest"):
        raise ValueError(accepted)
    return value


def server_name(value: str) -> str:
    # KServe labels pods isvc.<region>-kserve-<name>-predictor, in 63 characters; regions have up to 23.
    return _matches(r"[a-z]([-a-z0-9]{0,14}[a-z0-9])?", value, "1 to 16 of a-z, 0-9 and -, beginning with a letter")


def job_name(value: str) -> str:
    # Pods are called <region>-<name>-node-0-<node>-<five letters>, in 63 characters; regions have up to 23.
    return _matches(r"[a-z]([-a-z0-9]{0,22}[a-z0-9])?", value, "1 to 24 of a-z, 0-9 and -, beginning with a letter")


def object_prefix(value: str) -> str:
    return _matches(r"[\w.-]+(/[\w.-]+)*", value, "a prefix such as datasets/books, with no slash at either end")


def setting_names(value: dict[str, V]) -> dict[str, V]:
    for name in value:
        _matches(r"[a-z]+\.[a-z0-9_]+", name, f"settings by section and name, such as training.steps; not {name!r}")
    return value


def email(value: str) -> str:
    return _matches(rf"[\w.+-]+@({_LABEL}\.)+[a-z]{{2,63}}", value, "an email address, such as ml-platform@example.com")


def kubernetes_version(value: str) -> str:
    return _matches(r"1\.\d\d", value, 'a minor version of Kubernetes in quotes, such as "1.33"')


def principal(value: str) -> str:
    return _matches(
        r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]+|(user|group|serviceAccount):[^@\s]+@[\w.-]+",
        value,
        "the ARN of an AWS role or user, or user:<email> or group:<email> of Google",
    )


def tags(value: dict[str, str]) -> dict[str, str]:
    """Keys and values that are the same on both clouds, so that one owner's costs add up.

    https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html,
    https://cloud.google.com/compute/docs/labeling-resources#requirements: GCP's are the narrower rules.
    """
    for key, entry in value.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or key.startswith("aws"):
            raise ValueError(
                f"keys of 1 to 63 a-z, 0-9, _ and -, beginning with a letter but not with aws; not {key!r}"
            )
        if not re.fullmatch(r"[a-z0-9_-]{0,63}", entry):
            raise ValueError(f"values of at most 63 a-z, 0-9, _ and -; not {entry!r} of {key!r}")
    return value
