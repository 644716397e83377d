"""What the workflows may do: pinned actions, small permissions, no secrets, and nothing of a stranger's that is run."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES}
STACKS = sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in (ROOT / "stacks").glob("Pulumi.*.yaml"))

UNTRUSTED = re.compile(r"github\.(event\b|head_ref|ref_name|actor)|inputs\.|steps\.|matrix\.|vars\.|secrets\.")
"""What may not stand inside a script: a shell would run what somebody has named a branch."""


def triggers(workflow):
    found = workflow[True]  # YAML 1.1 reads the key `on` so
    return {found} if isinstance(found, str) else set(found)


def jobs():
    for file, workflow in WORKFLOWS.items():
        for name, job in workflow["jobs"].items():
            yield pytest.param(workflow, job, id=f"{file}:{name}")


def steps():
    for file, workflow in WORKFLOWS.items():
        for name, job in workflow["jobs"].items():
            for number, step in enumerate(job.get("steps", ())):
                yield pytest.param(file, step, id=f"{file}:{name}:{number}")


def test_there_are_workflows():
    assert {"test.yml", "preview.yml", "comment.yml", "deploy.yml", "up.yml"} <= WORKFLOWS.keys()


@pytest.mark.parametrize(("file", "step"), list(steps()))
def test_actions_are_pinned_by_commit_with_their_version_beside(file, step):
    if "uses" not in step:
        return
    [line] = {line for line in (ROOT / ".github/workflows" / file).read_text().splitlines() if step["uses"] in line}
    assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line
    assert step["uses"].split("/")[0] in {"actions", "github", "pulumi", "aws-actions", "google-github-actions"}
    if "actions/checkout" in step["uses"]:
        assert step["with"]["persist-credentials"] is False


def test_one_version_of_each_action():
    uses = {step.values[1]["uses"] for step in steps() if "uses" in step.values[1]}
    assert len({use.partition("@")[0] for use in uses}) == len(uses)


@pytest.mark.parametrize(("workflow", "job"), list(jobs()))
def test_permissions_are_given_by_job_and_small(workflow, job):
    assert "permissions" in workflow
    assert "write" not in str(workflow["permissions"])
    granted = job.get("permissions", workflow["permissions"])
    assert isinstance(granted, dict)
    writes = {scope for scope, level in granted.items() if level == "write"}
    assert writes <= {"id-token", "pull-requests", "security-events", "issues"}
    if "pull_request" in triggers(workflow):
        # Code of the pull request runs here. It may be somebody at a cloud only where no fork gets.
        assert writes <= {"id-token"}
        if writes:
            assert "head.repo.full_name == github.repository" in job["if"]
            assert "environment" in job
    if "uses" not in job:
        assert job["timeout-minutes"] <= 180


@pytest.mark.parametrize("file", WORKFLOWS)
def test_nothing_is_a_secret(file):
    # Roles come by OIDC, state and its key by the cloud; so there is nothing that could leak.
    assert "secrets." not in (ROOT / ".github/workflows" / file).read_text()
    assert "pull_request_target" not in triggers(WORKFLOWS[file])


@pytest.mark.parametrize(("file", "step"), list(steps()))
def test_no_script_has_words_of_a_stranger_in_it(file, step):
    allowed = {("test.yml", "make preview STACK=${{ matrix.stack }}")}  # a constant of the file itself
    for expression in re.findall(r"\$\{\{(.*?)\}\}", str(step.get("run", ""))):
        assert (file, step["run"]) in allowed or not UNTRUSTED.search(expression), expression


def test_the_trusted_run_neither_checks_out_nor_runs_anything_of_the_pull_request():
    workflow = WORKFLOWS["comment.yml"]
    assert triggers(workflow) == {"workflow_run"}
    assert workflow[True]["workflow_run"]["workflows"] == [WORKFLOWS["preview.yml"]["name"]]
    for job in workflow["jobs"].values():
        used = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
        assert used == ["actions/download-artifact", "github/codeql-action/upload-sarif"]
        scripts = "\n".join(step.get("run", "") for step in job["steps"])
        assert not re.search(r"\b(git|make|python|pip|npm|source|eval)\b|\bbash reports|sh reports|\./reports", scripts)
        # The number is checked against the commit that has run, the comment's size and marker before it is posted.
        assert all(part in scripts for part in ("HEAD_SHA", "^[0-9]{1,9}$", "'<!-- aicloud:'", "stat --format=%s"))


def test_up_does_what_was_approved_one_environment_after_the_other():
    deploy, up = WORKFLOWS["deploy.yml"], WORKFLOWS["up.yml"]
    assert {job["with"]["stack"]: job.get("needs") for job in deploy["jobs"].values() if "uses" in job} == {
        "dev": None, "staging": "dev", "prod": "staging"
    }  # fmt: skip
    assert {job["with"]["stack"] for job in deploy["jobs"].values() if "uses" in job} == set(STACKS)
    assert up["jobs"]["up"]["needs"] == "plan"
    assert up["jobs"]["up"]["environment"] == "${{ inputs.stack }}"
    assert up["jobs"]["up"]["concurrency"]["cancel-in-progress"] is False
    script = up["jobs"]["up"]["steps"][-1]["run"]
    assert "--plan up.json" in script
    assert "--save-plan up.json" in up["jobs"]["plan"]["steps"][-2]["run"]


def test_drift_is_looked_for_every_night_in_every_environment():
    drift = WORKFLOWS["deploy.yml"]["jobs"]["drift"]
    assert WORKFLOWS["deploy.yml"][True]["schedule"]
    assert sorted(drift["strategy"]["matrix"]["stack"]) == STACKS
    assert any("--refresh --expect-no-changes" in step.get("run", "") for step in drift["steps"])
    assert drift["permissions"]["issues"] == "write"


def test_the_command_line_tool_is_as_old_as_the_sdk():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [sdk] = [d.partition("==")[2] for d in project["dependencies"] if d.startswith("pulumi==")]
    found = {
        step.values[1]["with"]["pulumi-version"]
        for step in steps()
        if step.values[1].get("uses", "").startswith("pulumi/actions@")
    }
    assert found == {sdk}


def test_every_command_of_a_workflow_is_one_of_ours():
    from planner.cli import parser

    found = re.findall(r"aicloud (diff [^|>&\n]*)", "".join(file.read_text() for file in FILES))
    assert found
    for line in found:
        parser().parse_args(line.replace('"', "").split())


def test_zizmor_has_nothing_to_say():
    zizmor = Path(sys.executable).with_name("zizmor")
    done = subprocess.run([zizmor, "--offline", str(ROOT / ".github/workflows")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
