"""What each resource type accepts and answers, read from the Pulumi SDKs that are installed.

The wheels carry no schema.json. Every generated SDK has three things that say the same: the registry that importing it
fills (token -> class), the `<Class>Args` beside each class (inputs: names, types, what is required), and the property
getters of the class (outputs).
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import json
import keyword
import re
import sys
import threading
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi import _types
from pulumi.runtime import rpc

from planner.urn import PROVIDER_PREFIX

_LOCK = threading.RLock()
"""Held while generated modules are imported: they use importlib.util.LazyLoader, not thread-safe on Python 3.11."""


class UnknownType(LookupError):
    """No installed SDK has this resource type. The message says which come close."""


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an input object, under its Pulumi name (camelCase)."""

    name: str
    required: bool
    type: Any
    """The SDK's annotation, resolved; `alternatives` takes it apart."""
    deprecated: str | None = None
    """Why not to use it, in the SDK's words."""
    python_name: str = ""


@dataclass(frozen=True)
class ResourceSchema:
    """One resource type. `inputs` is None where the SDK has only a hand-written class, which cannot be introspected."""

    token: str
    cls: type
    inputs: Mapping[str, Property] | None
    outputs: Mapping[str, type]
    secret_outputs: tuple[str, ...] = ()
    args: type | None = None
    """The SDK's class of arguments, where `inputs` come from."""


@functools.cache
def resource_schema(token: str) -> ResourceSchema:
    """The schema of `aws:ec2/vpc:Vpc`, `pulumi:providers:aws`, … UnknownType where no installed SDK has it.

    Custom resources of Kubernetes (a group that Kubernetes itself doesn't have), dynamic resources and Pulumi's own
    types are opaque rather than unknown.
    """
    with _LOCK:
        cls = _resource_class(token)
        args = _args_class(cls)
        return ResourceSchema(
            token=token,
            cls=cls,
            inputs=None if args is None else object_properties(args),
            outputs={name: type for name, type in _types.resource_types(cls).items() if name not in ("id", "urn")},
            secret_outputs=_secret_outputs(cls),
            args=args,
        )


def _resource_class(token: str) -> type:
    if token.startswith("pulumi-python:"):
        return pulumi.dynamic.Resource
    if token.startswith("pulumi:pulumi:"):
        return getattr(pulumi, token.rsplit(":", 1)[1], pulumi.CustomResource)
    if token.startswith(PROVIDER_PREFIX):
        package = token.removeprefix(PROVIDER_PREFIX)
        if package == "pulumi-python":
            return pulumi.ProviderResource
        return _sdk(package, token).Provider
    if token.count(":") != 2:
        raise UnknownType(
            f"{token!r} is not a resource type; expected <package>:<module>:<Name>, as in aws:ec2/vpc:Vpc"
        )
    package, module, _ = token.split(":")
    sdk = _sdk(package, token)
    for registered in rpc._RESOURCE_MODULES.get(f"{package}:{module}", ()):
        info = getattr(registered, "mod_info", {})
        if token in info.get("classes", ()):
            return getattr(importlib.import_module(info["fqn"]), info["classes"][token])
    if package == "kubernetes" and module.split("/")[0] not in kubernetes_groups():
        # Not `sdk.apiextensions.CustomResource`: a program that imports the module of this name puts it there. That
        # must not be us: the package is lazy, and has to have its own names before a module of it is imported.
        hasattr(importlib.import_module(f"{sdk.__name__}.apiextensions"), "CustomResource")
        return importlib.import_module(f"{sdk.__name__}.apiextensions.CustomResource").CustomResource
    hint = did_you_mean(token, _tokens(package))
    raise UnknownType(f"{sdk.__name__} has no resource type {token!r}{hint}")


def _tokens(package: str) -> list[str]:
    """Every resource type of a package that has been imported."""
    return [
        token
        for key, modules in rpc._RESOURCE_MODULES.items()
        if key.split(":", 1)[0] == package
        for module in modules
        for token in getattr(module, "mod_info", {}).get("classes", ())
    ]


@functools.cache
def kubernetes_groups() -> frozenset[str]:
    """API groups that come with Kubernetes (`apps`, `networking.k8s.io`, …) and the SDK's own `helm.sh`, `yaml`, …

    `core` stands for the group without a name. Resources of any other group are custom resources.
    """
    with _LOCK:
        _sdk("kubernetes", "kubernetes:core/v1:Pod")
        return frozenset(token.split(":")[1].split("/")[0] for token in _tokens("kubernetes"))


@functools.cache
def _sdk(package: str, token: str) -> types.ModuleType:
    """The Python package of a Pulumi package, imported."""
    try:
        return importlib.import_module(f"pulumi_{package.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("pulumi_"):
            raise
    installed = _installed()
    if package in installed:
        return importlib.import_module(installed[package])
    raise UnknownType(f"no SDK for the package {package!r} of {token!r} is installed; there are {sorted(installed)}")


def _installed() -> dict[str, str]:
    """Pulumi package -> Python package, from each SDK's pulumi-plugin.json: not all are called `pulumi_<package>`."""
    found = {}
    for plugin in (file for folder in sys.path for file in Path(folder or ".").glob("*/pulumi-plugin.json")):
        name = json.loads(plugin.read_text(encoding="utf-8")).get("name")
        found[name or plugin.parent.name.removeprefix("pulumi_").replace("_", "-")] = plugin.parent.name
    return found


def _args_class(cls: type) -> type | None:
    module = sys.modules[cls.__module__]
    if cls.__name__ in ("CustomResource", "CustomResourcePatch"):
        return None  # of Kubernetes: written by hand, it takes more than its Args say
    # `InitArgs` where an object type has taken the name `Args`, which is then imported into the same module.
    for name in (f"{cls.__name__}InitArgs", f"{cls.__name__}Args"):
        args = getattr(module, name, None)
        if isinstance(args, type) and _types.is_input_type(args):
            return args
    return None


def _secret_outputs(cls: type) -> tuple[str, ...]:
    """Outputs that are secret whatever the inputs are; the SDK has them only in the code of the constructor."""
    if not hasattr(cls, "_internal_init"):
        return ()
    names = re.findall(r"additional_secret_outputs=\[(.*?)\]", _source(sys.modules[cls.__module__]))
    return tuple(sorted({name for found in names for name in re.findall(r'"(\w+)"', found)}))


def _source(module: types.ModuleType) -> str:
    return Path(module.__file__).read_text(encoding="utf-8") if module.__file__ else ""


# ---- objects


@functools.cache
def object_properties(cls: type) -> Mapping[str, Property]:
    """The properties of an input class (`…Args`), by Pulumi name."""
    with _LOCK:
        hints = _types._raw_return_hints(cls)
        parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
        return {
            name: Property(
                name=name,
                required=python_name in parameters and parameters[python_name].default is inspect.Parameter.empty,
                type=hints.get(name, Any),
                deprecated=_deprecation(getter.fget),
                python_name=python_name,
            )
            for python_name, name, getter in _types._py_properties(cls)
        }


def output_properties(cls: type) -> Mapping[str, type]:
    """The properties of an output class, by Pulumi name; Output and Optional are taken off their types."""
    with _LOCK:
        return _types.output_type_types(cls)


def _deprecation(getter: Any) -> str | None:
    if "_pulumi_deprecated_callable" not in getattr(getter, "__dict__", {}):
        return None
    return str(inspect.getclosurevars(getter).nonlocals.get("message", "deprecated"))


def alternatives(annotation: Any) -> list[Any]:
    """What a value may be, without None and what Pulumi wraps around types (Input, Output, Awaitable, TypedDict).

    >>> alternatives(pulumi.Input[int | str | None])
    [<class 'int'>, <class 'str'>]

    Something that cannot be resolved counts as Any.
    """
    found: list[Any] = []
    for one in _flatten(annotation):
        if one not in found:
            found.append(one)
    return found


def _flatten(annotation: Any) -> Iterator[Any]:
    if _types._is_union_type(annotation):
        for member in typing.get_args(annotation):
            yield from _flatten(member)
    elif annotation is not type(None) and not _types._is_plumbing_arg(annotation):
        yield Any if isinstance(annotation, str | typing.ForwardRef | typing.TypeVar) else annotation


# ---- functions


@functools.cache
def invoke_result_type(token: str) -> type | None:
    """The SDK's result class of a function such as `aws:ec2/getAmi:getAmi`; None where it has none.

    A function lives in a module of its own, `pulumi_aws.ec2.get_ami`, beside its `GetAmiResult`.
    """
    package, _, rest = token.partition(":")
    path, _, function = rest.rpartition(":")
    folders = [part for part in path.split("/") if part not in ("index", function)]
    # Python reserves some names: `aws:lambda/...` is in `pulumi_aws.lambda_`.
    folders = [f"{part}_" if keyword.iskeyword(part) else part for part in folders]
    with _LOCK:
        try:
            module = importlib.import_module(".".join([_sdk(package, token).__name__, *folders]))
        except (UnknownType, ModuleNotFoundError):
            return None
        # Subpackages load at the first look at an ordinary name. If a child is imported before that, it stays the value
        # of its name in the package, where the function should be, and the next program cannot call it.
        getattr(module, "outputs", None)
        # Pulumi's snake case has exceptions (`getIpv6CIDRBlock`); names without case and underscores are the same.
        for file in Path(module.__path__[0]).glob("*.py") if hasattr(module, "__path__") else ():
            if file.stem.replace("_", "") == function.lower():
                contents = vars(importlib.import_module(f"{module.__name__}.{file.stem}"))
                wanted = f"{function}Result".lower()
                for name, value in contents.items():
                    if name.lower() == wanted and isinstance(value, type) and _types.is_output_type(value):
                        return value
        return None


# ---- hints


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: ` (did you mean 'subnetIds'?)`, or empty where nothing comes close."""
    meant = closest(name, known)
    return f" (did you mean {meant!r}?)" if meant else ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant. Case and underscores weigh nothing: `subnet_IDs` is `subnetIds`."""
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_letters(one), one)
    found = difflib.get_close_matches(_letters(name), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9:/.]", "", name.lower())
