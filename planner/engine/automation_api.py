"""What stands in for the methods of Pulumi's Automation API that would call the CLI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pulumi import automation
from pulumi.automation import _local_workspace
from pulumi.automation._cmd import CommandResult
from pulumi.automation._stack import DestroyResult, PreviewResult, RefreshResult, UpdateSummary, UpResult
from pulumi.automation._stack_settings import StackSettingsSecureConfigValue
from semver import VersionInfo

from planner import urn as urns
from planner.plan import Diagnostic, Plan, Resource

if TYPE_CHECKING:
    from planner.engine.automation import Script, Stack

Methods = Mapping[str, Any]
Workspace = automation.Workspace
Config = Mapping[str, automation.ConfigValue]

_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
"""When all simulated updates take place: two previews are the same."""


def failed(errors: Iterable[Diagnostic]) -> automation.CommandError:
    """What the SDK raises where a program has errors."""
    text = "\n".join(f"{error.place + ': ' if error.place else ''}{error.message}" for error in errors)
    return automation.InlineSourceRuntimeError(CommandResult(stdout="", stderr=text, code=255))


def _refused(text: str) -> automation.CommandError:
    return automation.CommandError(CommandResult(stdout="", stderr=f"error: {text}", code=255))


def command_methods() -> Methods:
    """PulumiCommand without a CLI: it has the SDK's version, and says what it cannot do."""

    def init(command: Any, root: Any = None, version: Any = None, skip_version_check: bool = False) -> None:  # noqa: ARG001
        command.command = "pulumi"
        command.version = _version()

    def run(command: Any, args: Sequence[str], *_: Any, **__: Any) -> CommandResult:  # noqa: ARG001
        shown = " ".join(arg for arg in args if arg != "--non-interactive")
        raise _refused(f"`pulumi {shown}` is not simulated in a preview by aicloud")

    return {"__init__": init, "run": run}


def _version() -> VersionInfo:
    from importlib.metadata import version

    return VersionInfo.parse(version("pulumi"))


# ---- workspaces


def workspace_methods(script: Script) -> Methods:
    """LocalWorkspace, with its stacks, settings and configuration in memory."""

    def project_settings(workspace: Workspace) -> automation.ProjectSettings:
        return script.settings.get(workspace.work_dir) or _local_workspace._load_project_settings(workspace.work_dir)

    def save_project_settings(workspace: Workspace, settings: automation.ProjectSettings) -> None:
        script.settings[workspace.work_dir] = settings

    def save_stack_settings(workspace: Workspace, stack_name: str, settings: automation.StackSettings) -> None:
        config = script.stack(workspace, stack_name).config
        for key, value in (settings.config or {}).items():
            secret = isinstance(value, StackSettingsSecureConfigValue)
            text = f"secret value of {key}" if secret else value if isinstance(value, str) else json.dumps(value)
            config[_qualified(workspace, key)] = automation.ConfigValue(text, secret)

    def stack_settings(workspace: Workspace, stack_name: str) -> automation.StackSettings:
        config = {k: v.value for k, v in script.stack(workspace, stack_name).config.items()}
        return automation.StackSettings(config=config)

    def create_stack(workspace: Workspace, stack_name: str) -> None:
        script.stack(workspace, stack_name)

    def remove_stack(workspace: Workspace, stack_name: str, *_: Any, **__: Any) -> None:
        stack = script.stack(workspace, stack_name)
        stack.outputs, stack.deployed, stack.history = {}, {}, []

    def list_stacks(workspace: Workspace, include_all: bool | None = None) -> list[automation.StackSummary]:  # noqa: ARG001
        project = workspace.project_settings().name
        return [
            automation.StackSummary(stack.name, current=False, resource_count=len(stack.deployed))
            for stack in script.stacks.values()
            if stack.project == project
        ]

    def get_config(
        workspace: Workspace,
        stack_name: str,
        key: str,
        *,
        path: bool = False,  # noqa: ARG001
    ) -> automation.ConfigValue:
        found = script.stack(workspace, stack_name).config.get(_qualified(workspace, key))
        if found is None:
            raise _refused(f"configuration key {key!r} not found for stack {stack_name!r}")
        return found

    def get_all_config(workspace: Workspace, stack_name: str) -> dict[str, automation.ConfigValue]:
        return dict(script.stack(workspace, stack_name).config)

    def set_all_config(workspace: Workspace, stack_name: str, config: Config, *, path: bool = False) -> None:
        known = script.stack(workspace, stack_name).config
        for key, value in config.items():
            _set(known, workspace, key, value, path)

    def set_config(
        workspace: Workspace, stack_name: str, key: str, value: automation.ConfigValue, *, path: bool = False
    ) -> None:
        set_all_config(workspace, stack_name, {key: value}, path=path)

    def set_all_config_json(workspace: Workspace, stack_name: str, config_json: str) -> None:
        values = json.loads(config_json)
        given = {k: automation.ConfigValue(v["value"], v.get("secret", False)) for k, v in values.items()}
        set_all_config(workspace, stack_name, given)

    def remove_all_config(workspace: Workspace, stack_name: str, keys: list[str], *, path: bool = False) -> None:  # noqa: ARG001
        for key in keys:
            script.stack(workspace, stack_name).config.pop(_qualified(workspace, key), None)

    def remove_config(workspace: Workspace, stack_name: str, key: str, *, path: bool = False) -> None:
        remove_all_config(workspace, stack_name, [key], path=path)

    def get_tag(workspace: Workspace, stack_name: str, key: str) -> str:
        tags = script.stack(workspace, stack_name).tags
        if key not in tags:
            raise _refused(f"stack tag {key!r} not found for stack {stack_name!r}")
        return tags[key]

    def set_tag(workspace: Workspace, stack_name: str, key: str, value: str) -> None:
        script.stack(workspace, stack_name).tags[key] = value

    def remove_tag(workspace: Workspace, stack_name: str, key: str) -> None:
        script.stack(workspace, stack_name).tags.pop(key, None)

    def list_tags(workspace: Workspace, stack_name: str) -> dict[str, str]:
        return dict(script.stack(workspace, stack_name).tags)

    def add_environments(workspace: Workspace, stack_name: str, *names: str) -> None:
        script.stack(workspace, stack_name).environments.extend(names)

    def list_environments(workspace: Workspace, stack_name: str) -> list[str]:
        return list(script.stack(workspace, stack_name).environments)

    def remove_environment(workspace: Workspace, stack_name: str, name: str) -> None:
        script.stack(workspace, stack_name).environments.remove(name)

    def stack_outputs(workspace: Workspace, stack_name: str) -> dict[str, automation.OutputValue]:
        return dict(script.stack(workspace, stack_name).outputs)

    def export_stack(workspace: Workspace, stack_name: str) -> automation.Deployment:
        deployed = script.stack(workspace, stack_name).deployed
        return automation.Deployment(3, {"resources": [one.to_state() for one in deployed.values()]})

    def who_am_i(workspace: Workspace) -> automation.WhoAmIResult:  # noqa: ARG001
        return automation.WhoAmIResult("aicloud", organizations=["organization"])

    nothing = _nothing
    return {
        "project_settings": project_settings,
        "save_project_settings": save_project_settings,
        "stack_settings": stack_settings,
        "save_stack_settings": save_stack_settings,
        "create_stack": create_stack,
        "select_stack": create_stack,
        "remove_stack": remove_stack,
        "list_stacks": list_stacks,
        "get_config": get_config,
        "get_all_config": get_all_config,
        "set_config": set_config,
        "set_all_config": set_all_config,
        "set_all_config_json": set_all_config_json,
        "remove_config": remove_config,
        "remove_all_config": remove_all_config,
        "refresh_config": nothing,
        "get_tag": get_tag,
        "set_tag": set_tag,
        "remove_tag": remove_tag,
        "list_tags": list_tags,
        "add_environments": add_environments,
        "list_environments": list_environments,
        "remove_environment": remove_environment,
        "stack_outputs": stack_outputs,
        "export_stack": export_stack,
        "who_am_i": who_am_i,
        "install": nothing,
        "install_plugin": nothing,
        "install_plugin_from_server": nothing,
        "remove_plugin": nothing,
        "list_plugins": lambda workspace: [],  # noqa: ARG005
    }


def _nothing(*_: Any, **__: Any) -> None:
    """Plugins and the like: a simulation needs none."""


def _qualified(workspace: Workspace, key: str) -> str:
    return key if ":" in key else f"{workspace.project_settings().name}:{key}"


def _set(
    known: dict[str, automation.ConfigValue],
    workspace: Workspace,
    key: str,
    value: automation.ConfigValue,
    path: bool,
) -> None:
    """Set one value; with `path`, inside the object or list that the first part of the key names."""
    keys = [name or int(index) for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key)] if path else [key]
    name = _qualified(workspace, str(keys[0]))
    if len(keys) == 1:
        known[name] = value
        return
    empty = automation.ConfigValue("[]" if isinstance(keys[1], int) else "{}")
    before = known.get(name, empty)
    whole = inner = json.loads(before.value)
    for this, following in zip(keys[1:], [*keys[2:], None], strict=True):
        item = value.value if following is None else [] if isinstance(following, int) else {}
        if isinstance(inner, list) and this == len(inner):
            inner.append(item)
        elif following is None or (isinstance(inner, dict) and this not in inner):
            inner[this] = item
        inner = inner[this]
    known[name] = automation.ConfigValue(json.dumps(whole), before.secret or value.secret)


# ---- stacks


def stack_methods(script: Script) -> Methods:
    """Stack, with its operations on the simulated engine."""

    def preview(stack: automation.Stack, *_: Any, **options: Any) -> PreviewResult:
        state = script.run(stack, options.get("program") or stack.workspace.program, up=False)
        counted = changes(state.deployed, _after(state))
        text = _tell(state.plan, counted, options)
        return PreviewResult(text, "", {automation.OpType(name): count for name, count in counted.items()})

    def up(stack: automation.Stack, *_: Any, **options: Any) -> UpResult:
        state = script.run(stack, options.get("program") or stack.workspace.program, up=True)
        counted = changes(state.deployed, _after(state))
        state.deployed = _after(state)
        text = _tell(state.plan, counted, options)
        return UpResult(text, "", _summary(state, "update", counted), dict(state.outputs))

    def refresh(stack: automation.Stack, *_: Any, **options: Any) -> RefreshResult:
        state = script.stack(stack.workspace, stack.name)
        counted = changes(state.deployed, state.deployed)
        return RefreshResult(_tell(None, counted, options), "", _summary(state, "refresh", counted))

    def preview_refresh(stack: automation.Stack, *_: Any, **options: Any) -> PreviewResult:
        state = script.stack(stack.workspace, stack.name)
        counted = changes(state.deployed, state.deployed)
        return PreviewResult(_tell(None, counted, options), "", {automation.OpType(k): n for k, n in counted.items()})

    def destroy(stack: automation.Stack, *_: Any, **options: Any) -> DestroyResult:
        state = script.stack(stack.workspace, stack.name)
        counted = changes(state.deployed, {})
        summary = _summary(state, "destroy", counted)
        state.outputs, state.deployed = {}, {}
        if options.get("remove"):
            state.history = []
        return DestroyResult(_tell(None, counted, options), "", summary)

    def preview_destroy(stack: automation.Stack, *_: Any, **options: Any) -> PreviewResult:
        counted = changes(script.stack(stack.workspace, stack.name).deployed, {})
        return PreviewResult(_tell(None, counted, options), "", {automation.OpType(k): n for k, n in counted.items()})

    def history(
        stack: automation.Stack,
        page_size: int | None = None,
        page: int | None = None,
        show_secrets: bool = True,  # noqa: ARG001
    ) -> list[UpdateSummary]:
        done = list(reversed(script.stack(stack.workspace, stack.name).history))
        if page_size is None:
            return done
        first = ((page or 1) - 1) * page_size
        return done[first : first + page_size]

    return {
        "preview": preview,
        "up": up,
        "refresh": refresh,
        "preview_refresh": preview_refresh,
        "destroy": destroy,
        "preview_destroy": preview_destroy,
        "history": history,
        "cancel": _nothing,
    }


def _after(state: Stack) -> dict[str, Resource]:
    """What the CLI counts in the stack's plan: not what is only read, nor default providers."""
    assert state.plan is not None, "asked for after a run"
    return {
        resource.urn: resource
        for resource in state.plan
        if not resource.external and not (resource.is_provider and urns.parse(resource.urn).name.startswith("default"))
    }


def changes(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> dict[str, int]:
    """How many resources each operation concerns, as in the CLI's summary."""
    both = before.keys() & after.keys()
    same = {urn for urn in both if before[urn].inputs == after[urn].inputs}
    counted = {
        "create": len(after.keys() - before.keys()),
        "update": len(both - same),
        "delete": len(before.keys() - after.keys()),
        "same": len(same),
    }
    return {operation: count for operation, count in counted.items() if count}


def _summary(state: Stack, kind: str, counted: Mapping[str, int]) -> UpdateSummary:
    config = {key: {"value": value.value, "secret": value.secret} for key, value in state.config.items()}
    summary = UpdateSummary(
        kind=kind,
        start_time=_MOMENT,
        end_time=_MOMENT,
        message="",
        environment={},
        config=config,
        result="succeeded",
        version=len(state.history) + 1,
        resource_changes=cast("Any", dict(counted)),  # the SDK itself puts the plain texts of the CLI here
    )
    state.history.append(summary)
    return summary


def _tell(plan: Plan | None, counted: Mapping[str, int], options: Mapping[str, Any]) -> str:
    """Give the callbacks of a script what the CLI would: a summary as text, and an event for each resource."""
    lines = ["Resources:", *(f"    {count} to {operation}" for operation, count in counted.items())]
    if say := options.get("on_output"):
        for line in lines:
            say(line)
    if hear := options.get("on_event"):
        for sequence, event in enumerate(_events(plan, counted)):
            hear(automation.EngineEvent.from_json({"sequence": sequence, "timestamp": 0, **event}))
    return "\n".join(lines)


def _events(plan: Plan | None, counted: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for one in plan or ():
        metadata = {"op": "create", "urn": one.urn, "type": one.type, "provider": one.provider}
        yield {"resourcePreEvent": {"metadata": metadata}}
    yield {"summaryEvent": {"resourceChanges": dict(counted)}}
