"""What the helper packages would answer: random, tls, command, docker, eks and awsx."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from planner.engine.simulated.made import Made, digest

_SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
"""The special characters of random.RandomPassword, where the program does not give its own."""

_ADJECTIVES = ("able", "brave", "calm", "eager", "fair", "glad", "keen", "kind", "lively", "neat", "proud", "quick")
_ADVERBS = ("barely", "deeply", "early", "fairly", "firmly", "gladly", "kindly", "mainly", "mildly", "nearly", "openly")
_ANIMALS = ("ant", "bear", "crab", "deer", "eagle", "fox", "hare", "ibis", "jay", "lynx", "newt", "owl", "seal", "wolf")


def describe(made: Made) -> tuple[str, dict[str, Any]]:
    """The id, and the outputs beyond the inputs; a hash of the URN where nothing is known about a type."""
    described = _DESCRIBED.get(made.token)
    if described is None:
        return made.named("name").name, {}
    return described(made)


# ---- random


def _bytes(made: Made, *salt: str) -> Iterator[int]:
    block = 0
    while True:
        yield from digest(made.token, made.seed, *salt, str(block))
        block += 1


def password(made: Made, without: str = "") -> str:
    """As random.RandomPassword makes it: the least of each kind that was asked for, then any, then shuffled.

    `length` and what it may consist of are among the inputs; characters of `without` are left out.
    """
    inputs = made.inputs
    kinds = {
        "Upper": string.ascii_uppercase if inputs.get("upper", True) else "",
        "Lower": string.ascii_lowercase if inputs.get("lower", True) else "",
        "Numeric": string.digits if inputs.get("numeric", inputs.get("number", True)) else "",
        "Special": (inputs.get("overrideSpecial") or _SPECIAL) if inputs.get("special", True) else "",
    }
    kinds = {kind: "".join(c for c in characters if c not in without) for kind, characters in kinds.items()}
    noise = _bytes(made)
    length = int(inputs.get("length") or 0)
    chosen = [
        kinds[kind][next(noise) % len(kinds[kind])]
        for kind in kinds
        for _ in range(int(inputs.get(f"min{kind}") or 0))
        if kinds[kind]
    ]
    anything = "".join(kinds.values()) or string.ascii_letters
    while len(chosen) < length:
        chosen.append(anything[next(noise) % len(anything)])
    for i in range(length - 1, 0, -1):  # Fisher and Yates
        j = next(noise) % (i + 1)
        chosen[i], chosen[j] = chosen[j], chosen[i]
    return "".join(chosen[:length])


def _password(made: Made) -> tuple[str, dict[str, Any]]:
    return "none", {**_kinds(made), "result": password(made), "bcryptHash": f"$2a$10${made.lower(53)}"}


def _string(made: Made) -> tuple[str, dict[str, Any]]:
    text = password(made)
    return text, {**_kinds(made), "result": text}


def _kinds(made: Made) -> dict[str, Any]:
    """Which kinds of characters there are: all, unless the program says otherwise."""
    numeric = made.inputs.get("numeric", made.inputs.get("number", True))
    given = {kind: made.inputs.get(kind, True) for kind in ("upper", "lower", "special")}
    return {**given, "numeric": numeric, "number": numeric}


def _id(made: Made) -> tuple[str, dict[str, Any]]:
    noise = _bytes(made)
    data = bytes(next(noise) for _ in range(int(made.inputs.get("byteLength") or 8)))
    prefix = str(made.inputs.get("prefix") or "")
    url = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return url, {
        "b64Url": prefix + url,
        "b64Std": prefix + base64.b64encode(data).decode(),
        "hex": prefix + data.hex(),
        "dec": prefix + str(int.from_bytes(data)),
    }


def _raw_bytes(made: Made) -> tuple[str, dict[str, Any]]:
    noise = _bytes(made)
    data = bytes(next(noise) for _ in range(int(made.inputs.get("length") or 8)))
    return "none", {"base64": base64.b64encode(data).decode(), "hex": data.hex()}


def _uuid(made: Made) -> tuple[str, dict[str, Any]]:
    return made.uuid(), {"result": made.uuid()}


def _integer(made: Made) -> tuple[str, dict[str, Any]]:
    low, high = int(made.inputs.get("min") or 0), int(made.inputs.get("max") or 0)
    number = low + int.from_bytes(digest(made.token, made.seed)) % (max(high - low, 0) + 1)
    return str(number), {"result": number}


def _pet(made: Made) -> tuple[str, dict[str, Any]]:
    noise = _bytes(made)
    length = int(made.inputs.get("length") or 2)
    words = [_ANIMALS[next(noise) % len(_ANIMALS)]]
    if length > 1:
        words.insert(0, _ADJECTIVES[next(noise) % len(_ADJECTIVES)])
    words[:0] = [_ADVERBS[next(noise) % len(_ADVERBS)] for _ in range(length - 2)]
    separator = made.inputs.get("separator", "-")
    prefix = [made.inputs["prefix"]] if made.inputs.get("prefix") else []
    return separator.join([*prefix, *words]), {"length": length, "separator": separator}


def _shuffle(made: Made) -> tuple[str, dict[str, Any]]:
    given = list(made.inputs.get("inputs") or [])
    order = sorted(range(len(given)), key=lambda i: digest(made.token, made.seed, str(i)))
    count = int(made.inputs.get("resultCount") or len(given))
    return "-", {"results": [given[order[i % len(order)]] for i in range(count)] if given else []}


# ---- tls, command, docker


def _private_key(made: Made) -> tuple[str, dict[str, Any]]:
    algorithm = str(made.inputs.get("algorithm") or "RSA")
    label = {"RSA": "RSA PRIVATE KEY", "ECDSA": "EC PRIVATE KEY"}.get(algorithm, "PRIVATE KEY")
    kind = {"RSA": "ssh-rsa", "ED25519": "ssh-ed25519"}.get(algorithm, "ecdsa-sha2-nistp256")
    return made.hex(40), {
        **public_key(made, kind),
        "privateKeyPem": made.pem(label),
        "privateKeyPemPkcs8": made.pem("PRIVATE KEY"),
        "privateKeyOpenssh": made.pem("OPENSSH PRIVATE KEY"),
    }


def public_key(made: Made, kind: str = "ssh-rsa") -> dict[str, Any]:
    """The public half of a key, in every spelling."""
    fingerprint = made.hex(32)
    return {
        "publicKeyPem": made.pem("PUBLIC KEY", 270),
        "publicKeyOpenssh": f"{kind} {made.base64(270, 'ssh')}\n",
        "publicKeyFingerprintMd5": ":".join(fingerprint[i : i + 2] for i in range(0, 32, 2)),
        "publicKeyFingerprintSha256": "SHA256:" + made.base64(32, "fingerprint").rstrip("="),
    }


def _certificate(made: Made) -> tuple[str, dict[str, Any]]:
    return made.digits(38), {
        "certPem": made.pem("CERTIFICATE"),
        "validityStartTime": "2026-01-01T00:00:00Z",
        "validityEndTime": "2027-01-01T00:00:00Z",
        "readyForRenewal": False,
        "keyAlgorithm": "RSA",
    }


def _certificate_request(made: Made) -> tuple[str, dict[str, Any]]:
    return made.hex(40), {"certRequestPem": made.pem("CERTIFICATE REQUEST"), "keyAlgorithm": "RSA"}


def _command(made: Made) -> tuple[str, dict[str, Any]]:
    """Never run: what a command prints is not known, so it prints nothing."""
    return f"{made.base}{made.hex(8)}", {"stdout": "", "stderr": ""}


def _docker_image(made: Made) -> tuple[str, dict[str, Any]]:
    name = str(made.inputs.get("imageName") or made.base)
    repository = name.rsplit(":", 1)[0] if ":" in name.rsplit("/", 1)[-1] else name
    pushed = f"{repository}@sha256:{made.hex(64)}"
    return f"sha256:{made.hex(64)}", {
        "imageName": name,
        "baseImageName": name,
        "repoDigest": pushed,
        "registryServer": name.split("/")[0] if "/" in name else "docker.io",
        "context": "",
        "dockerfile": "Dockerfile",
    }


def _docker_pulled_image(made: Made) -> tuple[str, dict[str, Any]]:
    name = str(made.inputs.get("name") or made.base)
    id = f"sha256:{made.hex(64)}"
    return f"{id}{name}", {"imageId": id, "repoDigest": f"{name.split(':')[0]}@sha256:{made.hex(64, 'digest')}"}


def _docker_object(made: Made) -> tuple[str, dict[str, Any]]:
    made = made.named("name")
    return made.hex(64), {"name": made.name}


def _built_image(made: Made) -> tuple[str, dict[str, Any]]:
    tag = next(iter(made.inputs.get("tags") or []), made.base)
    digest_ = f"sha256:{made.hex(64)}"
    return made.hex(64), {"digest": digest_, "ref": f"{tag}@{digest_}", "contextHash": made.hex(64, "context")}


# ---- eks and awsx: components whose children are made by their own provider


def _eks_cluster(made: Made) -> tuple[str, dict[str, Any]]:
    made = made.named("name")
    endpoint = f"https://{made.upper(32)}.gr7.{made.region}.eks.{made.suffix}"
    issuer = f"oidc.eks.{made.region}.{made.suffix}/id/{made.upper(32)}"
    arn = f"arn:{made.partition}:eks:{made.region}:{made.account}:cluster/{made.name}"
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["--region", made.region, "eks", "get-token", "--cluster-name", made.name, "--output", "json"],
    }
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": arn, "cluster": {"server": endpoint, "certificate-authority-data": made.certificate_authority()}}
        ],
        "users": [{"name": arn, "user": {"exec": command}}],
        "contexts": [{"name": arn, "context": {"cluster": arn, "user": arn}}],
        "current-context": arn,
    }
    return "", {
        "kubeconfig": kubeconfig,
        "kubeconfigJson": json.dumps(kubeconfig),
        "clusterSecurityGroupId": f"sg-{made.hex(17, 'cluster')}",
        "nodeSecurityGroupId": f"sg-{made.hex(17, 'node')}",
        "clusterIngressRuleId": f"sgr-{made.hex(17)}",
        "oidcIssuer": issuer,
        "oidcProviderUrl": f"https://{issuer}",
        "oidcProviderArn": f"arn:{made.partition}:iam::{made.account}:oidc-provider/{issuer}",
    }


def awsx_vpc(made: Made) -> tuple[str, dict[str, Any]]:
    zones = int(made.inputs.get("numberOfAvailabilityZones") or 3)
    zones = len(made.inputs.get("availabilityZoneNames") or ()) or zones

    specs = [str(spec.get("type", "")).lower() for spec in made.inputs.get("subnetSpecs") or ()] or [
        "private",
        "public",
    ]

    def subnets(kind: str) -> list[str]:
        return [f"subnet-{made.hex(17, kind, str(i))}" for i in range(zones * specs.count(kind))]

    return "", {
        "vpcId": f"vpc-{made.hex(17)}",
        "privateSubnetIds": subnets("private"),
        "publicSubnetIds": subnets("public"),
        "isolatedSubnetIds": subnets("isolated"),
    }


def _awsx_repository(made: Made) -> tuple[str, dict[str, Any]]:
    made = made.named("name")
    return "", {"url": f"{made.account}.dkr.ecr.{made.region}.{made.suffix}/{made.name}"}


def _awsx_image(made: Made) -> tuple[str, dict[str, Any]]:
    repository = made.inputs.get("repositoryUrl") or f"{made.account}.dkr.ecr.{made.region}.{made.suffix}/{made.base}"
    return "", {"imageUri": f"{repository}@sha256:{made.hex(64)}"}


_DESCRIBED: Mapping[str, Callable[[Made], tuple[str, dict[str, Any]]]] = {
    "random:index/randomPassword:RandomPassword": _password,
    "random:index/randomString:RandomString": _string,
    "random:index/randomId:RandomId": _id,
    "random:index/randomBytes:RandomBytes": _raw_bytes,
    "random:index/randomUuid:RandomUuid": _uuid,
    "random:index/randomUuid4:RandomUuid4": _uuid,
    "random:index/randomUuid7:RandomUuid7": _uuid,
    "random:index/randomInteger:RandomInteger": _integer,
    "random:index/randomPet:RandomPet": _pet,
    "random:index/randomShuffle:RandomShuffle": _shuffle,
    "tls:index/privateKey:PrivateKey": _private_key,
    "tls:index/selfSignedCert:SelfSignedCert": _certificate,
    "tls:index/locallySignedCert:LocallySignedCert": _certificate,
    "tls:index/certRequest:CertRequest": _certificate_request,
    "command:local:Command": _command,
    "command:remote:Command": _command,
    "command:remote:CopyFile": _command,
    "command:remote:CopyToRemote": _command,
    "docker:index/image:Image": _docker_image,
    "docker:index/remoteImage:RemoteImage": _docker_pulled_image,
    "docker:index/registryImage:RegistryImage": _docker_pulled_image,
    "docker:index/container:Container": _docker_object,
    "docker:index/network:Network": _docker_object,
    "docker:index/volume:Volume": _docker_object,
    "docker-build:index:Image": _built_image,
    "docker-build:index:Index": _built_image,
    "eks:index:Cluster": _eks_cluster,
    "awsx:ec2:Vpc": awsx_vpc,
    "awsx:ecr:Repository": _awsx_repository,
    "awsx:ecr:Image": _awsx_image,
}
