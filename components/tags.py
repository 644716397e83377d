"""Who owns a resource, written the way each cloud wants it: one mapping of tags in, AWS tags or GCP labels out."""

import re
from collections.abc import Mapping

GCP_LABEL_LENGTH = 63
"""Characters in a GCP label's key or value. https://cloud.google.com/compute/docs/labeling-resources#requirements"""


def aws_tags(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """The tags of an AWS resource that consoles list by its `Name` tag."""
    return {"Name": name, **tags}


def gcp_labels(tags: Mapping[str, str]) -> dict[str, str]:
    """The same tags as GCP labels: lower case, `[a-z0-9_-]`, 63 characters at most; `cost-center: R&D` -> `r-d`.

    Raises ValueError where a key doesn't begin with a letter, or two keys become the same label: a label that
    silently replaced another would put a resource's cost on the wrong owner.
    """
    labels: dict[str, str] = {}
    source: dict[str, str] = {}
    for key, value in tags.items():
        label = _label(key)
        if not label[:1].isalpha():
            raise ValueError(f"tags: {key!r} cannot be a GCP label: a label's key begins with a letter a-z")
        if label in labels:
            raise ValueError(f"tags: {source[label]!r} and {key!r} both become the GCP label {label!r}; rename one")
        labels[label], source[label] = _label(value), key
    return labels


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:GCP_LABEL_LENGTH]
