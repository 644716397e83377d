"""Simulated answers of the Kubernetes provider: YAML into objects, and charts and overlays where a tool is at hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from planner.engine.simulated.ask import Ask, Cannot, Refused, simulations

_SECONDS = 60
"""The longest that a tool may take to render."""


def _decode(ask: Ask) -> dict[str, Any]:
    return {"result": _objects(ask.text("text"), ask.text("defaultNamespace"))}


def _objects(text: str, namespace: str = "") -> list[dict[str, Any]]:
    """The objects of a YAML text; `List`s are taken apart, as the provider does."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise Refused(f"not YAML: {error}") from None
    found: list[dict[str, Any]] = []
    for document in documents:
        if not document:
            continue
        if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
            raise Refused(f"not a Kubernetes object (no apiVersion or kind): {str(document)[:80]!r}")
        items = document.get("items") if str(document["kind"]).endswith("List") else None
        found += items if isinstance(items, list) else [document]
    for one in found:
        if namespace and not (one.get("metadata") or {}).get("namespace"):
            one.setdefault("metadata", {})["namespace"] = namespace
    # YAML dates and the like become what JSON would carry.
    return json.loads(json.dumps(found, default=str))


def _chart(ask: Ask) -> dict[str, Any]:
    """A chart, rendered by helm where it is installed."""
    options = json.loads(ask.text("jsonOpts", default="{}"))
    chart = str(options.get("path") or options.get("chart") or "")
    helm = shutil.which("helm")
    if helm is None:
        raise Cannot(f"helm is not installed, so the resources of the chart {chart!r} are not in the preview", _NOTHING)
    repository = (options.get("fetch_opts") or {}).get("repo")
    if options.get("repo") and not repository:
        chart = f"{options['repo']}/{chart}"
    command = [helm, "template", str(options.get("release_name") or options.get("resource_name") or "release"), chart]
    for flag, value in {
        "--repo": repository,
        "--version": options.get("version"),
        "--namespace": options.get("namespace"),
        "--kube-version": options.get("kube_version"),
    }.items():
        command += [flag, str(value)] if value else []
    for version in options.get("api_versions") or []:
        command += ["--api-versions", str(version)]
    if not options.get("include_test_hook_resources"):
        command.append("--skip-tests")
    if not options.get("skip_crd_rendering"):
        command.append("--include-crds")
    with tempfile.TemporaryDirectory() as folder:
        values = Path(folder, "values.yaml")
        values.write_text(json.dumps(options.get("values") or {}), encoding="utf-8")
        return {"result": _rendered([*command, "--values", str(values)], f"the chart {chart!r}")}


def _overlay(ask: Ask) -> dict[str, Any]:
    """A kustomization, rendered by kustomize or kubectl where one is installed."""
    folder = ask.text("directory")
    tool = shutil.which("kustomize") or shutil.which("kubectl")
    if tool is None:
        reason = f"neither kustomize nor kubectl is installed, so the resources of {folder!r} are not in the preview"
        raise Cannot(reason, _NOTHING)
    verb = "build" if Path(tool).stem == "kustomize" else "kustomize"
    return {"result": _rendered([tool, verb, folder], f"the kustomization {folder!r}")}


_NOTHING: dict[str, Any] = {"result": []}


def _rendered(command: list[str], what: str) -> list[dict[str, Any]]:
    tool = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Cannot(f"{tool} could not render {what}, which is not in the preview: {error}", _NOTHING) from None
    if done.returncode != 0:
        message = done.stderr.strip().splitlines()
        said = message[-1] if message else f"exit status {done.returncode}"
        raise Cannot(f"{tool} could not render {what}, which is not in the preview: {said}", _NOTHING)
    return _objects(done.stdout)


SIMULATED = simulations(
    {
        "kubernetes:yaml:decode": _decode,
        "kubernetes:helm:template": _chart,
        "kubernetes:kustomize:directory": _overlay,
    }
)
