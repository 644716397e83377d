"""`aicloud check`, as a person and as CI use it."""

import json
from pathlib import Path

import pytest

from planner import cli
from tests.faults.placement import FAULTS
from tests.support import ROOT

RENAMED = next(fault for fault in FAULTS if fault.rule == "pod-fits-a-pool" and "label of a pool" in fault.name)


@pytest.fixture
def aicloud(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        status = cli.main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def files(tmp_path, simulated_plan):
    """A plan file with nothing wrong, and one with one thing wrong."""
    plan = simulated_plan(RENAMED.environment)
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(plan.to_json())
    bad.write_text(RENAMED.plant(plan).to_json())
    return str(good), str(bad)


def test_a_clean_environment_is_said_to_be_and_the_status_is_zero(aicloud, files):
    status, out, _ = aicloud("check", files[0])
    assert status == 0
    assert "rules hold" in out.splitlines()[-1]
    assert "error" not in out


def test_an_error_is_told_with_its_place_and_remedy_and_the_status_is_one(aicloud, files):
    status, out, _ = aicloud("check", files[1])
    assert status == 1
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    assert lines[0].startswith("error  ")
    assert any(line.startswith("eu-central-1-triton") and "components/inference/" in line for line in lines)
    assert any(line.startswith("→ ") for line in lines)
    assert "1 error" in lines[-1] or "errors" in lines[-1]


def test_what_is_excused_is_told_with_its_reason(aicloud, files):
    _, out, _ = aicloud("check", files[0])
    assert "excused" in out
    assert "networks-keep-flow-logs" in out


def test_json_has_every_finding(aicloud, files):
    status, out, _ = aicloud("check", files[1], "--format", "json")
    found = json.loads(out)
    assert (status, found["stack"]) == (1, RENAMED.environment)
    assert "pod-fits-a-pool" in {finding["rule"] for finding in found["findings"]}
    assert all(excused["reason"] for excused in found["excused"])


def test_sarif_is_for_code_scanning(aicloud, files):
    _, out, _ = aicloud("check", files[1], "--format", "sarif")
    (run,) = json.loads(out)["runs"]
    assert "pod-fits-a-pool" in {result["ruleId"] for result in run["results"]}


def test_the_rules_are_listed_as_the_environment_has_them(aicloud, files):
    _, out, _ = aicloud("check", files[0], "--rules")
    assert "pod-fits-a-pool" in out
    assert "granted:" in out


def test_scenarios_say_what_is_left(aicloud, files):
    _, out, _ = aicloud("check", files[0], "--scenarios")
    assert "region aws:us-east-1" in out
    assert "all spot capacity" in out


def test_a_value_given_for_this_check_counts(aicloud, files):
    levels = json.dumps({"pod-fits-a-pool": "off"})
    _, out, _ = aicloud("check", files[1], "--format", "json", "--config", f"rules:levels={levels}")
    assert "pod-fits-a-pool" not in {finding["rule"] for finding in json.loads(out)["findings"]}


def test_wrong_rules_are_told_and_the_status_is_two(aicloud, files):
    status, _, err = aicloud("check", files[0], "--config", 'rules:levels={"pod-fits": "off"}')
    assert status == 2
    assert "rules:levels.pod-fits: no rule 'pod-fits'" in err


def test_an_export_is_judged_by_the_configuration_of_its_stack(aicloud, files, tmp_path):
    document = json.loads(Path(files[0]).read_text())
    del document["aicloud"]
    export = tmp_path / "export.json"
    export.write_text(json.dumps(document))
    status, out, _ = aicloud("check", str(export))
    assert status == 0, out
    assert "excused" in out
