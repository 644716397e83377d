"""The components as a Pulumi package: its schema, its process, and that it builds what the Python classes build."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest
import yaml
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.runtime.proto import provider_pb2

from components.__main__ import EXPORTED, PACKAGE
from planner.engine import runner
from planner.engine.monitor import Engine
from planner.engine.target import Target
from planner.plan import Plan, Resource
from tests.component_plugin import ConstructingEngine, Plugin, running
from tests.samples import CLOUDS, ONLY_AWS, samples
from tests.support import CONFIG, ROOT

FOLDER = ROOT / "components"
GOLDEN = Path(__file__).parent / "golden" / "component-schema.json"
CLASSES = {part.__name__: part for part in EXPORTED}


# ---- the schema


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads(ComponentProvider(EXPORTED, PACKAGE).schema)


def test_the_schema_is_the_one_that_was_reviewed(schema: dict[str, Any]) -> None:
    text = json.dumps(_tidy(schema), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == text, "the schema changed: `make golden`, and read the difference"


def _tidy(value: Any) -> Any:
    """Descriptions without the indentation that docstrings have up to Python 3.12."""
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(item) if key == "description" and isinstance(item, str) else _tidy(item)
            for key, item in value.items()
        }
    return [_tidy(item) for item in value] if isinstance(value, list) else value


def test_every_component_is_exported_under_its_token(schema: dict[str, Any]) -> None:
    assert set(schema["resources"]) == {f"aicloud:index:{name}" for name in samples("aws")}


def test_everything_is_described_and_named_as_pulumi_names_it(schema: dict[str, Any]) -> None:
    undescribed = [
        where for where, described in _properties(schema) if not str(described.get("description", "")).strip()
    ]
    assert undescribed == []
    assert all(re.fullmatch(r"[a-z][a-zA-Z0-9]*", where.rsplit(".", 1)[1]) for where, _ in _properties(schema))
    assert all(described.get("description") for described in schema["resources"].values())
    assert all(described.get("description") for described in schema["types"].values())


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for token, described in {**schema["resources"], **schema["types"]}.items():
        for key in ("inputProperties", "properties"):
            for name, one in described.get(key, {}).items():
                yield f"{token}.{name}", one


# ---- the folder


def test_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for line in (FOLDER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(wanted) <= set(project["dependencies"])
    source = "\n".join(path.read_text() for path in FOLDER.rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE))
    modules = {re.split(r"[=<>\[]", line)[0].lower().replace("-", "_").replace("pyyaml", "yaml") for line in wanted}
    ours = {line for line in project["dependencies"] if re.split("=", line)[0] not in ("pydantic", "rich")}
    assert modules <= imported, "required, and not imported"
    others = {re.split(r"[=<>\[]", line)[0].lower().replace("-", "_") for line in ours} - modules - {"pyyaml"}
    assert not others & imported, "imported, and not required"


def test_pulumi_is_told_how_to_run_the_folder() -> None:
    runtime = yaml.safe_load((FOLDER / "PulumiPlugin.yaml").read_text())["runtime"]
    assert runtime["name"] == "python"
    assert not (FOLDER / "pyproject.toml").exists(), "Pulumi would install the folder as a package of its own"


# ---- the process


SENTENCE = "Private addresses for one region's machines and pods, and the ways out of it."


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """The plugin out of a clone that differs in a sentence: Pulumi's has no installed `components` to fall back on."""
    clone = tmp_path_factory.mktemp("clone") / "components"
    shutil.copytree(FOLDER, clone, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
    described = clone / "network" / "regional_network.py"
    described.write_text(described.read_text().replace(SENTENCE, "As the clone says."))
    with running(clone) as started:
        yield started


def test_the_plugin_tells_the_same_schema(plugin: Plugin, schema: dict[str, Any]) -> None:
    told = plugin.stub.GetSchema(provider_pb2.GetSchemaRequest(version=0)).schema
    assert json.loads(told.replace("As the clone says.", SENTENCE)) == schema
    assert "As the clone says." in told


@pytest.mark.parametrize(
    ("name", "cloud"), [(name, cloud) for name in CLASSES for cloud in CLOUDS if cloud == "aws" or name not in ONLY_AWS]
)
def test_the_plugin_builds_what_the_class_builds(plugin: Plugin, schema: dict[str, Any], name: str, cloud: str) -> None:
    args = samples(cloud)[name]
    # Unknown inputs first, then known ones: what is applied to them runs in the plugin only then.
    for preview in (True, False):
        directly = _run(Engine, lambda o, a: _direct(name, args, schema, o, a), preview=preview)
        through = _run(
            ConstructingEngine, lambda o, a: _remote(name, args, schema, o, a), preview=preview, plugin=plugin
        )
        assert directly.errors == through.errors == []
        assert [r.urn for r in through] == [r.urn for r in directly]
        assert len(directly) > 5
        for resource, expected in zip(through, directly, strict=True):
            assert _comparable(resource) == _comparable(expected)


def test_a_wrong_argument_is_refused_with_the_components_own_words(plugin: Plugin, schema: dict[str, Any]) -> None:
    args = {**samples("aws")["RegionalNetwork"], "cidr": "10.0.0.0/8"}
    plan = _run(ConstructingEngine, lambda o, a: _remote("RegionalNetwork", args, schema, o, a), plugin=plugin)
    assert any("RegionalNetwork 'sample': cidr: " in d.message and "10.0.0.0/8" in d.message for d in plan.errors)


Maker = Callable[[pulumi.ResourceOptions, pulumi.Resource], Mapping[str, Any]]


def _run(engine: type[Engine], make: Maker, **more: Any) -> Plan:
    """Preview one component, with a cluster's provider, something to wait for, and inputs known only to the cloud."""

    def program() -> None:
        anchor = aws.ec2.Vpc("anchor", cidr_block="10.0.0.0/16", region="us-east-1")
        cluster = kubernetes.Provider("cluster", kubeconfig="{}")
        for key, value in make(pulumi.ResourceOptions(providers=[cluster], depends_on=[anchor]), anchor).items():
            pulumi.export(key, value)

    started = engine(Target(project="ai-cloud", stack="test", root=ROOT, config=CONFIG), **more)
    runner.run(started, program)
    return started.plan()


def _direct(name: str, args: Any, schema: dict[str, Any], opts: pulumi.ResourceOptions, anchor: Any) -> dict[str, Any]:
    described = schema["resources"][f"aicloud:index:{name}"]
    given = _given(args, described["inputProperties"], schema, anchor, rename=False)
    made = CLASSES[name]("sample", given, opts)  # type: ignore[arg-type]
    return {key: getattr(made, _snake(key)) for key in described["properties"]}


def _remote(name: str, args: Any, schema: dict[str, Any], opts: pulumi.ResourceOptions, anchor: Any) -> dict[str, Any]:
    """As the SDK does that `pulumi package add` generates."""
    described = schema["resources"][f"aicloud:index:{name}"]
    given = _given(args, described["inputProperties"], schema, anchor, rename=True)
    outputs = list(described["properties"])
    made = pulumi.ComponentResource(
        f"aicloud:index:{name}", "sample", {**dict.fromkeys(outputs), **given}, opts, remote=True
    )
    return {key: getattr(made, key) for key in outputs}


def _given(args: Any, properties: Any, schema: dict[str, Any], anchor: Any, *, rename: bool) -> dict[str, Any]:
    """Arguments under their names in Python or in the schema; what may be an output is one, and unknown."""
    given: dict[str, Any] = {}
    for key, described in properties.items():
        if (name := _snake(key)) not in args:
            continue
        value = args[name]
        of = described.get("$ref") or described.get("items", {}).get("$ref")
        if of:
            inner = schema["types"][of.removeprefix("#/types/")]["properties"]
            nested = [
                _given(item, inner, schema, anchor, rename=rename)
                for item in (value if isinstance(value, list) else [value])
            ]
            value = nested if isinstance(value, list) else nested[0]
        elif not described.get("plain"):
            value = anchor.id.apply(lambda _, value=value: value)
        given[key if rename else name] = value
    return given


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _comparable(resource: Resource) -> Resource:
    # One is made by this process, the other by the plugin's.
    return replace(resource, source_position="")
