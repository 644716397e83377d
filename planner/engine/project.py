"""A Pulumi project on disk: `Pulumi.yaml` and `Pulumi.<stack>.yaml`, as the CLI would hand them to the program."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
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
    organization: str = "organization"
    """What `pulumi.get_organization` answers: the first part of a stack named `organization/project/stack`."""
    automation: bool = False
    """The program is a script of the Automation API, which makes stacks of its own."""

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
    organization, _, short = stack_name(stack)
    place = Path(directory).resolve()
    if (script := _script(place)) is not None:
        root, program = script.parent, script
        file = root / f"Pulumi.{short}.yaml"
        return Project(root, root.name, program, stack, file, dict(overrides or {}), (), automation=True)
    root, project = _project(place)
    name = project.get("name")
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{root / _NAMES[0]}: 'name' is {name!r}; expected the project's name")
    runtime = project.get("runtime")
    language = runtime.get("name") if isinstance(runtime, dict) else runtime
    if language != "python":
        raise ProjectError(f"{root / _NAMES[0]}: 'runtime' is {language!r}; only python programs can be previewed")
    stack_file = root / str(project.get("stackConfigDir") or ".") / f"Pulumi.{short}.yaml"
    declared = {_qualified(key, name): spec for key, spec in (project.get("config") or {}).items()}
    if not stack_file.exists() and not overrides and (stack_files := stacks(root, project)):
        hint = get_close_matches(short, stack_files, 1)
        raise ProjectError(
            f"no stack {short!r}: {_relative(stack_file)} does not exist; there is {', '.join(stack_files)}"
            + (f" (did you mean {hint[0]!r}?)" if hint else "")
            + "; a new stack takes its configuration from --config KEY=VALUE"
        )
    raw = {key: spec for key, spec in declared.items() if not isinstance(spec, dict)}
    for key, spec in declared.items():
        if isinstance(spec, dict) and ("default" in spec or "value" in spec):
            raw[key] = spec.get("default", spec.get("value"))
    raw.update(_stack_config(stack_file, name, overrides))
    config, secret = _texts(raw, [key for key, spec in declared.items() if _is_declared_secret(spec)])
    _check_declared(declared, raw, stack_file)
    return Project(
        root, name, _program(root, project), short, stack_file, config, secret, organization or Project.organization
    )


def stack_name(stack: str) -> tuple[str, str, str]:
    """Organization, project and short name of `organization/project/stack`; empty where a name has fewer parts."""
    *before, short = stack.split("/")
    return before[0] if before else "", before[1] if len(before) > 1 else "", short


def stack_config(
    stack_file: Path, project: str, overrides: Mapping[str, str] | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The configuration of one stack and which of its keys are secret; as in `load`, where nothing is declared."""
    return _texts(_stack_config(stack_file, project, overrides))


def _stack_config(stack_file: Path, project: str, overrides: Mapping[str, str] | None) -> dict[str, Any]:
    own = (_yaml(stack_file).get("config") or {}) if stack_file.exists() else {}
    if not isinstance(own, dict):
        raise ProjectError(f"{stack_file}: 'config' is {type(own).__name__}; expected a map of keys")
    return {_qualified(key, project): value for key, value in [*own.items(), *(overrides or {}).items()]}


def _texts(raw: Mapping[str, Any], declared_secret: Iterable[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    secret = {key for key, value in raw.items() if _holds_secret(value)} | (set(declared_secret) & raw.keys())
    return {key: _text(key, value) for key, value in raw.items() if value is not None}, tuple(sorted(secret))


_PACKAGED = ("pyproject.toml", "setup.py", "setup.cfg")


def import_path(root: Path) -> list[Path]:
    """Where the program of a project finds packages that are not installed where it is previewed.

    In the project's own virtual environment, its local SDKs (`pulumi package add`), and the repository around it, which
    its developers have installed in place.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [*sorted(root.glob(f"*venv*/lib/{version}/site-packages")), *sorted(root.glob("sdks/*"))]
    for directory in (root, *root.parents):
        if any((directory / name).is_file() for name in _PACKAGED):
            found += [directory / "src", directory]
        if (directory / ".git").exists():
            break
    return [directory for directory in found if directory.is_dir() and directory != root]


def stacks(root: Path, project: Mapping[str, Any]) -> list[str]:
    """The names of the stacks that have a file."""
    directory = root / str(project.get("stackConfigDir") or ".")
    return sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in directory.glob("Pulumi.*.yaml"))


def all_stacks(directory: str | Path) -> list[str]:
    """The stacks that have a file, of the project in `directory` or above it. ProjectError where there is none."""
    return stacks(*_project(Path(directory).resolve()))


_AUTOMATION = re.compile(r"^\s*(?:import pulumi\.automation|from pulumi(?:\.automation)? import .*)", re.MULTILINE)


def _script(place: Path) -> Path | None:
    """The script of the Automation API that is meant: the file itself, or what a directory without a program has."""
    if place.is_file():
        return place
    if any((place / name).is_file() for name in _NAMES) and (place / "__main__.py").is_file():
        return None
    scripts = [place / name for name in ("__main__.py", "main.py") if (place / name).is_file()]
    return next((script for script in scripts if _uses_automation(script)), None)


def _uses_automation(script: Path) -> bool:
    text = script.read_text(encoding="utf-8", errors="replace")
    return any("automation" in found.group() for found in _AUTOMATION.finditer(text))


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


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_secure(value) or any(map(_holds_secret, value.values()))
    return isinstance(value, list) and any(map(_holds_secret, value))


def _text(key: str, value: Any) -> str:
    value = _decrypted(key, value)
    # The CLI keeps scalars as they are written and everything else as JSON; a date is a text to it.
    return str(value) if isinstance(value, str | date) else json.dumps(value, default=str)


def _decrypted(key: str, value: Any) -> Any:
    """The value with a stand-in for each secret in it."""
    if _is_secure(value):
        variable = "AICLOUD_SECRET_" + "".join(c if c.isalnum() else "_" for c in key).upper()
        return os.environ.get(variable, f"secret value of {key}")
    if isinstance(value, dict):
        return {name: _decrypted(f"{key}.{name}", item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decrypted(f"{key}[{i}]", item) for i, item in enumerate(value)]
    return value


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
        if expected == "string" and not isinstance(value, dict | list | None):
            continue  # a scalar without quotes; the CLI takes it as it is written
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
