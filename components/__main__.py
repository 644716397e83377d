"""The same parts as a Pulumi package, for programs in any language.

`pulumi package add <repository>/components@v0.1.0` writes an SDK of them in the program's language. For that, and in
every run of such a program, Pulumi clones the repository and runs this folder: `python components <engine's address>`.
"""

import inspect
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a folder, Python looks for modules inside it: `components` is not found there, but `security` would be.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pulumi import ComponentResource
from pulumi.provider.experimental import component_provider_host

import components

PACKAGE = "aicloud"
EXPORTED = [
    part
    for name in components.__all__
    if isinstance(part := getattr(components, name), type) and issubclass(part, ComponentResource)
]

for part in EXPORTED:
    # The descriptions in the schema are Markdown, where an indented paragraph is code.
    part.__doc__ = inspect.cleandoc(part.__doc__ or "")

if __name__ == "__main__":
    component_provider_host(name=PACKAGE, components=EXPORTED)
