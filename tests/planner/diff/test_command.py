"""`aicloud diff` of revisions, files and Pulumi's previews, in a repository of its own."""

import json
import shutil
import subprocess

import pytest

from planner import revisions
from planner.cli import main
from planner.plan import Plan
from tests.support import ROOT

PROGRAM = """
import pulumi
import pulumi_aws as aws

size = pulumi.Config("p").require_int("size")
aws.sqs.Queue("jobs", delay_seconds=size{more})
"""


def git(directory, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Pulumi project in a folder of a repository: `main`, a branch that has left it, and main gone on since."""
    root = tmp_path / "repository"
    directory = root / "deployments" / "queue"
    directory.mkdir(parents=True)
    (root / ".gitignore").write_text("__pycache__/\n")
    (directory / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (directory / "__main__.py").write_text(PROGRAM.format(more=""))
    for stack, size in (("dev", 1), ("prod", 5)):
        config = f"config:\n  aws:region: us-east-1\n  p:size: {size}\n"
        (directory / f"Pulumi.{stack}.yaml").write_text(config)
    git(root.parent, "init", "--initial-branch=main", str(root))
    git(root, "add", ".")
    git(root, "commit", "--message=one")
    git(root, "checkout", "-b", "branch")
    (directory / "__main__.py").write_text(PROGRAM.format(more=", fifo_queue=True"))
    git(root, "commit", "--all", "--message=two")
    git(root, "checkout", "main")
    (directory / "Pulumi.dev.yaml").write_text("config:\n  aws:region: us-east-1\n  p:size: 9\n")
    git(root, "commit", "--all", "--message=three")
    git(root, "checkout", "branch")
    monkeypatch.chdir(directory)
    return directory


def run(capsys, *arguments):
    status = main(["diff", *arguments])
    return status, capsys.readouterr()


@pytest.mark.usefixtures("project")
def test_a_branch_is_compared_with_where_it_left_its_target(capsys):
    before = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True).stdout
    _, said = run(capsys, "main", "--format", "json")
    report = json.loads(said.out)
    assert [e["environment"] for e in report["environments"]] == ["dev", "prod"]
    for environment in report["environments"]:
        [change] = environment["changes"]
        assert (change["op"], [p["path"] for p in change["properties"]]) == ("replace", ["fifoQueue"])
    # Neither the working tree, nor the index, nor the list of worktrees has anything new in it.
    assert subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True).stdout == before
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True).stdout
    assert len(listed.splitlines()) == 1


def test_what_is_not_committed_counts_and_two_revisions_are_compared_as_they_are(project, capsys):
    (project / "__main__.py").write_text(PROGRAM.format(more=", visibility_timeout_seconds=60"))
    _, said = run(capsys, "HEAD", "--stack", "prod", "--format", "json")
    [environment] = json.loads(said.out)["environments"]
    assert {p["path"] for c in environment["changes"] for p in c["properties"]} == {
        "fifoQueue",
        "visibilityTimeoutSeconds",
    }
    _, said = run(capsys, "main", "branch", "--stack", "dev", "--format", "json")
    report = json.loads(said.out)
    assert report["head"].startswith("branch at ")
    [change] = report["environments"][0]["changes"]
    assert [p["path"] for p in change["properties"]] == ["delaySeconds", "fifoQueue"]


def test_a_new_environment_is_all_created(project, capsys):
    shutil.copy(project / "Pulumi.dev.yaml", project / "Pulumi.staging.yaml")
    _, said = run(capsys, "main", "--format", "json")
    report = json.loads(said.out)
    [staging] = [e for e in report["environments"] if e["environment"] == "staging"]
    assert staging["counts"] == {"create": 1}
    assert "has no environment staging" in report["notes"][0]


def test_a_side_that_does_not_preview_says_so(project, capsys):
    (project / "__main__.py").write_text("import pulumi\nraise ValueError('not today')\n")
    status, said = run(capsys, "main", "--stack", "dev")
    assert status == 1
    assert "not today" in said.out


@pytest.mark.usefixtures("project")
def test_files_are_written_by_their_names(capsys, tmp_path):
    out = tmp_path / "report"
    names = ["comment.md", "findings.sarif", "report.json", "report.txt"]
    run(capsys, "main", "--stack", "dev", *(f"--out={out / name}" for name in names), "--marker", "mine")
    assert (out / "comment.md").read_text().startswith("<!-- aicloud:mine -->\n## ")
    assert json.loads((out / "findings.sarif").read_text())["version"] == "2.1.0"
    assert json.loads((out / "report.json").read_text())["environments"]
    text = (out / "report.txt").read_text()
    assert "fifoQueue" in text
    assert all(line == line.rstrip() and len(line) <= 140 for line in text.splitlines())


def test_plan_files_and_exports_are_compared(project, capsys, tmp_path):
    for name, revision in (("old", "main"), ("new", "branch")):
        git(project, "checkout", revision)
        main(["preview", "dev", "--out", str(tmp_path / f"{name}.json"), "--json"])
    capsys.readouterr()
    _, said = run(capsys, str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--format", "json")
    [environment] = json.loads(said.out)["environments"]
    assert environment["counts"] == {"replace": 1}
    # What runs, by `pulumi stack export`, against the working tree: real ids are no differences.
    state = json.loads((tmp_path / "new.json").read_text())
    for resource in state["deployment"]["resources"]:
        if resource["type"].startswith("aws:"):
            url = "https://sqs.us-east-1.amazonaws.com/1/jobs-1"
            resource.update(id=url, outputs={"url": url})
            resource["inputs"] |= {"name": "jobs-1234567", "__defaults": ["name"]}
    del state["aicloud"]
    (tmp_path / "export.json").write_text(json.dumps(state))
    status, said = run(capsys, str(tmp_path / "export.json"), "--format", "json")
    [environment] = json.loads(said.out)["environments"]
    assert environment["changes"] == []
    assert status == 0


@pytest.mark.usefixtures("project")
def test_previews_of_pulumi_are_shown_together(capsys, tmp_path):
    main(["preview", "dev", "--out", str(tmp_path / "plan.json"), "--json"])
    capsys.readouterr()
    states = [resource.to_state() for resource in Plan.read(tmp_path / "plan.json")]
    files = []
    for stack in ("dev", "prod"):
        text = json.dumps(
            {"steps": [{"op": "create", "urn": s["urn"], "newState": s} for s in states], "duration": 1, "config": {}}
        )
        path = tmp_path / f"{stack}.json"
        path.write_text(text.replace("urn:pulumi:dev", f"urn:pulumi:{stack}"))
        files.append(str(path))
    _, said = run(capsys, *files, "--format", "json")
    report = json.loads(said.out)
    assert [(e["environment"], e["counts"], e["decidedBy"]) for e in report["environments"]] == [
        (stack, {"create": 1}, "pulumi") for stack in ("dev", "prod")
    ]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "neither a file nor a revision"),
        (["--stack", "prid", "main"], "--stack prid: there is dev, prod"),
        (["a", "b", "c"], "more than two sides"),
        (["missing.json"], "missing.json: cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_said(capsys, arguments, message):
    status, said = run(capsys, *arguments)
    assert status == 2
    assert message in said.err


def test_a_revision_that_looks_like_an_option_is_none(project):
    with pytest.raises(revisions.RevisionError):
        revisions.resolve("--output=/tmp/x", project)


def test_the_real_program_of_an_earlier_commit_previews_beside_this_one(capsys):
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True)
    if done.returncode:
        pytest.skip("not a repository")
    status, said = run(capsys, "HEAD", "HEAD", "--stack", "dev", "--cwd", str(ROOT), "--format", "json")
    [environment] = json.loads(said.out)["environments"]
    assert (status, environment["changes"]) == (0, [])
