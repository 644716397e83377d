"""Simulated answers of the helper packages: tls, docker, command and awsx."""

from __future__ import annotations

from typing import Any

from planner.engine.simulated.ask import Ask, Cannot, simulations
from planner.engine.simulated.made import MOMENT
from planner.engine.simulated.other_resources import awsx_vpc, public_key


def _public_key(ask: Ask) -> dict[str, Any]:
    private = ask.text("privateKeyPem", "privateKeyOpenssh")
    made = ask.made(seed=private)
    return {"id": made.hex(40), "algorithm": "ECDSA" if "EC PRIVATE" in private else "RSA", **public_key(made)}


def _certificate(ask: Ask) -> dict[str, Any]:
    """The chain of a server: its own certificate, under one root."""
    made = ask.made(seed=ask.text("url", "content"))
    about = {
        "isCa": True,
        "issuer": "CN=Simulated Root",
        "subject": "CN=Simulated Root",
        "serialNumber": made.digits(38),
        "sha1Fingerprint": made.hex(40),
        "signatureAlgorithm": "SHA256-RSA",
        "publicKeyAlgorithm": "RSA",
        "notBefore": MOMENT,
        "notAfter": "2036-01-01T00:00:00Z",
        "version": 3,
        "maxPathLength": -1,
        "certPem": made.pem("CERTIFICATE"),
    }
    return {"id": made.hex(40, "id"), "certificates": [about]}


def _registry_image(ask: Ask) -> dict[str, Any]:
    digest = f"sha256:{ask.made(seed=ask.text('name')).hex(64)}"
    return {"id": digest, "sha256Digest": digest}


def _remote_image(ask: Ask) -> dict[str, Any]:
    name, made = ask.text("name"), ask.made(seed=ask.text("name"))
    return {"id": f"sha256:{made.hex(64)}", "repoDigest": f"{name.split(':')[0]}@sha256:{made.hex(64, 'digest')}"}


def _run(ask: Ask) -> dict[str, Any]:
    raise Cannot("commands are not run in a preview", {"command": ask.text("command"), "stdout": "", "stderr": ""})


def _default_vpc(ask: Ask) -> dict[str, Any]:
    return awsx_vpc(ask.made(seed=ask.region))[1]


SIMULATED = simulations(
    {
        "tls:index/getPublicKey": _public_key,
        "tls:index/getCertificate": _certificate,
        "docker:index/getRegistryImage": _registry_image,
        "docker:index/getRemoteImage": _remote_image,
        "command:local:run": _run,
        "awsx:ec2:getDefaultVpc": _default_vpc,
    }
)
