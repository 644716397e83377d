"""Which images run in the clusters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from planner.plan import UNKNOWN
from policies.declare import Parameters, at
from policies.kubernetes_pods import Container, Pod, container_policy

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")

PRIVATE_REGISTRIES = ["*.dkr.ecr.*.amazonaws.com", "*-docker.pkg.dev"]
"""An account's own, on AWS and on GCP."""


def _image(container: Container) -> str:
    """The image that a container states; empty where it isn't known, or stated elsewhere."""
    image = at(container.spec, "image", "")
    return image if isinstance(image, str) and UNKNOWN not in image else ""


def _repository(image: str) -> str:
    """`nvcr.io/nvidia/tritonserver` of `nvcr.io/nvidia/tritonserver:25.10-py3`, with the registry that is meant."""
    path, _, last = image.partition("@")[0].rpartition("/")
    repository = f"{path}/{last.partition(':')[0]}".lstrip("/")
    first, slash, _ = repository.partition("/")
    return repository if slash and (first == "localhost" or "." in first or ":" in first) else f"docker.io/{repository}"


@container_policy(
    "images-by-digest",
    "Every image is named by its digest, so that what was tested is what runs",
    partial=True,
    risk="high",
    why="https://kubernetes.io/docs/concepts/containers/images/#image-names",
    fix="Write <registry>/<name>:<tag>@sha256:<digest>; `docker buildx imagetools inspect <image>` tells the digest.",
)
def images_by_digest(container: Container, _: Pod, __: Parameters) -> Iterator[str]:
    image = _image(container)
    if image and not _DIGEST.fullmatch(image):
        yield f"runs {image}; expected a digest: whoever may push can put another image under a tag"


@container_policy(
    "images-with-a-lasting-tag",
    "No image is whatever is newest: each has a tag other than `latest`, or a digest",
    partial=True,
    risk="high",
    why="https://kubernetes.io/docs/concepts/configuration/overview/#container-images",
    fix="Give the image a tag that stays, such as a version or a commit, and its digest.",
)
def images_with_a_lasting_tag(container: Container, _: Pod, __: Parameters) -> Iterator[str]:
    image = _image(container)
    tag = image.rpartition("/")[2].partition(":")[2]
    if image and "@" not in image and tag in ("", "latest"):
        yield f"runs {image}, which is another image tomorrow; expected a tag that stays"


@container_policy(
    "images-from-allowed-registries",
    "Images come from the registries that the environment names",
    partial=True,
    risk="high",
    why="https://kubernetes.io/docs/concepts/security/security-checklist/#images",
    fix="Copy the image into a registry of yours, or name its registry under "
    "rules:parameters.images-from-allowed-registries.registries.",
    parameters={"registries": PRIVATE_REGISTRIES},
)
def images_from_allowed_registries(container: Container, _: Pod, parameters: Parameters) -> Iterator[str]:
    image = _image(container)
    allowed = [str(registry).rstrip("/") for registry in parameters["registries"]]
    if image and not any(
        fnmatchcase(_repository(image), pattern) for registry in allowed for pattern in (registry, f"{registry}/*")
    ):
        yield f"runs {image}; allowed are {', '.join(allowed) or 'none'}"
