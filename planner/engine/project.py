"""A Pulumi project on disk: `Pulumi.yaml` and `Pulumi.<stack>.yaml`, as the CLI would hand them to the program."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml


class ProjectError(ValueError):
    """A project or stack file that is missing or wrong: names the file, the key and what is accepted."""


@dataclass(frozen=True)
class Project:
    """What a preview needs to know of a project and one of its stacks."""

    root: Path
    """The directory of Pulumi.yaml; stacks, recorded answers and source positions are relative to it."""
    name: str
    program: Path
    """The directory of the program, or its file."""
    stack: str
    stack_file: Path
    config: Mapping[str, str]
    """Fully qualified key -> value; what is not text is JSON, as in PULUMI_CONFIG."""
    secret_keys: tuple[str, ...]

    @property
    def recorded_answers(self) -> Path:
        """Where recorded invokes and stack outputs of this stack lie."""
        return self.stack_file.with_name(f"invokes.{self.stack}.json")


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_NAMES = ("Pulumi.yaml", "Pulumi.yml")


def load(directory: str | Path, stack: str, overrides: Mapping[str, str] | None = None) -> Project:
    """Read the project in `directory` (or above it) and its stack.

    Values under `secure:` cannot be decrypted here: a stand-in takes their place, or the value of the environment
    variable AICLOUD_SECRET_<KEY>, or an override. ProjectError says what is wrong with a file.
    """
    root, project = _project(Path(directory).resolve())
    name = project.get("name")
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{root / _NAMES[0]}: 'name' is {name!r}; expected the project's name")
    runtime = project.get("runtime")
    language = runtime.get("name") if isinstance(runtime, dict) else runtime
    if language != "python":
        raise ProjectError(f"{root / _NAMES[0]}: 'runtime' is {language!r}; only python programs can be previewed")
    stack_file = root / str(project.get("stackConfigDir") or ".") / f"Pulumi.{stack}.yaml"
    raw: dict[str, Any] = {}
    declared = {_qualified(key, name): spec for key, spec in (project.get("config") or {}).items()}
    for key, spec in declared.items():
        if not isinstance(spec, dict):
            raw[key] = spec
        elif "default" in spec or "value" in spec:
            raw[key] = spec.get("default", spec.get("value"))
    if stack_file.exists():
        own = _yaml(stack_file).get("config") or {}
        if not isinstance(own, dict):
            raise ProjectError(f"{stack_file}: 'config' is {type(own).__name__}; expected a map of keys")
        raw.update({_qualified(key, name): value for key, value in own.items()})
    elif stack_files := stacks(root, project):
        hint = get_close_matches(stack, stack_files, 1)
        raise ProjectError(
            f"no stack {stack!r}: {_relative(stack_file)} does not exist; there is {', '.join(stack_files)}"
            + (f" (did you mean {hint[0]!r}?)" if hint else "")
        )
    raw.update({_qualified(key, name): value for key, value in (overrides or {}).items()})
    secret = [
        k for k, v in raw.items() if _is_secure(v) or (isinstance(declared.get(k), dict) and declared[k].get("secret"))
    ]
    config = {key: _text(key, value) for key, value in raw.items() if value is not None}
    _check_declared(declared, raw, stack_file)
    return Project(root, name, _program(root, project), stack, stack_file, config, tuple(sorted(secret)))


def stacks(root: Path, project: Mapping[str, Any]) -> list[str]:
    """The names of the stacks that have a file."""
    directory = root / str(project.get("stackConfigDir") or ".")
    return sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in directory.glob("Pulumi.*.yaml"))


def _project(directory: Path) -> tuple[Path, dict[str, Any]]:
    for candidate in (directory, *directory.parents):
        for file_name in _NAMES:
            if (candidate / file_name).is_file():
                return candidate, _yaml(candidate / file_name)
    raise ProjectError(f"{_relative(directory)}: no Pulumi.yaml here or above")


def _program(root: Path, project: Mapping[str, Any]) -> Path:
    program = (root / str(project.get("main") or ".")).resolve()
    if program.is_dir() and not (program / "__main__.py").is_file():
        raise ProjectError(f"{_relative(program)}: no __main__.py, which is where a Python program begins")
    if not program.exists():
        raise ProjectError(f"{_relative(root / _NAMES[0])}: 'main' names {_relative(program)}, which does not exist")
    return program


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProjectError(f"{_relative(path)}: {error}") from None
    if not isinstance(content, dict):
        raise ProjectError(f"{_relative(path)}: is a {type(content).__name__}; expected a map of keys")
    return content


def _qualified(key: Any, project: str) -> str:
    return str(key) if ":" in str(key) else f"{project}:{key}"


def _is_secure(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _is_declared_secret(spec: Any) -> bool:
    return isinstance(spec, dict) and bool(spec.get("secret"))


def _text(key: str, value: Any) -> str:
    if _is_secure(value):
        variable = "AICLOUD_SECRET_" + "".join(c if c.isalnum() else "_" for c in key).upper()
        return os.environ.get(variable, f"secret value of {key}")
    # The CLI keeps scalars as they are written and everything else as JSON.
    return value if isinstance(value, str) else json.dumps(value)


def _check_declared(declared: Mapping[str, Any], raw: Mapping[str, Any], stack_file: Path) -> None:
    for key, spec in declared.items():
        expected = spec.get("type") if isinstance(spec, dict) else None
        if expected is None:
            continue
        where = _relative(stack_file)
        if key not in raw:
            raise ProjectError(f"{where}: {key} is missing; Pulumi.yaml declares it as {expected}")
        value = raw[key]
        accepted = _TYPES.get(str(expected))
        wrong = accepted is not None and not isinstance(value, accepted)
        if wrong or (expected in ("integer", "number") and isinstance(value, bool)):
            if _is_secure(value) or isinstance(value, str):  # overrides and environment values arrive as text
                continue
            raise ProjectError(f"{where}: {key} is {value!r}; Pulumi.yaml declares it as {expected}")


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
