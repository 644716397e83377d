"""Service packages of the generated SDKs, imported module by module: each at the first use of a name in it.

`pulumi_aws.ec2` and its like import all of their modules at once, hundreds of them for the few that a program uses.
That was a quarter of the time from a cold start to a plan (docs/LOG.md).
"""

from __future__ import annotations

import importlib
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from importlib import abc, machinery
from pathlib import Path
from types import ModuleType
from typing import Any

_SDKS = ("pulumi_aws.", "pulumi_gcp.")
_STAR = re.compile(r"from \.(\w+) import \*")
_REST = frozenset(
    {"", "import builtins as _builtins", "from .. import _utilities", "import typing", "from . import outputs"}
)


def install() -> None:
    """Have service packages that are imported from now on be lazy, for the life of the process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> machinery.ModuleSpec | None:
        if path is None or not fullname.startswith(_SDKS) or fullname.count(".") != 1:
            return None
        spec = machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.submodule_search_locations or not spec.origin:
            return None
        source = Path(spec.origin).read_text(encoding="utf-8")
        modules = _modules(source)
        if modules:
            spec.loader = _Loader(modules, has_outputs="\nfrom . import outputs\n" in source)
        return spec


def _modules(source: str) -> tuple[str, ...]:
    """The modules that a package imports everything from; none where it does anything else besides."""
    found = []
    for line in source.splitlines():
        if star := _STAR.fullmatch(line):
            found.append(star[1])
        elif line not in _REST and not line.startswith("#"):
            return ()
    return tuple(found)


class _Loader(abc.Loader):
    def __init__(self, modules: tuple[str, ...], *, has_outputs: bool) -> None:
        self._modules, self._has_outputs = modules, has_outputs

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Package
        module.__dict__["_lazy_modules"] = self._modules
        module.__dict__["_lazy_outputs"] = self._has_outputs
        module.__dict__["typing"] = typing  # as in the SDK's own


class _Package(ModuleType):
    """A package whose names are looked up in its modules when they are asked for."""

    _lazy_modules: tuple[str, ...]
    _lazy_outputs: bool

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if name in self._lazy_modules or (name == "outputs" and self._lazy_outputs):
            self.__setattr__(name, self._import(name))
            return self.__dict__[name]
        for module in self._likely(name):
            if name in _public(module):
                self.__setattr__(name, _public(module)[name])
                return self.__dict__[name]
        self._import_all()
        if name not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self.__dict__[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the module `get_ami` binds it in the package; there the name belongs to the function in it.
        if isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}" and name in self._lazy_modules:
            value = _public(value).get(name, value)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        self._import_all()
        return sorted(self.__dict__)

    def _import(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.__name__}.{name}")

    def _likely(self, name: str) -> list[ModuleType]:
        """Modules that have a name if any has, the last one first, as the last of two star imports wins."""
        letters = _letters(name).removeprefix("awaitable")
        stems = {letters, *(letters.removesuffix(end) for end in ("output", "result", "args", "argsdict"))}
        found = [
            module for module in self._lazy_modules if _letters(module) in stems or module in ("_inputs", "_enums")
        ]
        if not letters.endswith(("args", "argsdict")) and any(_letters(module) in stems for module in found):
            found = [module for module in found if _letters(module) in stems]
        return [self._import(module) for module in reversed(found)]

    def _import_all(self) -> None:
        if self._lazy_outputs:
            super().__setattr__("outputs", self._import("outputs"))
        for module in self._lazy_modules:
            for name, value in _public(self._import(module)).items():
                super().__setattr__(name, value)


def _letters(name: str) -> str:
    return name.lower().replace("_", "")


def _public(module: ModuleType) -> Mapping[str, Any]:
    """What `from module import *` takes."""
    names = module.__dict__.get("__all__")
    if names is None:
        names = [name for name in module.__dict__ if not name.startswith("_")]
    return {name: module.__dict__[name] for name in names if name in module.__dict__}
