"""Each alert fires when it should and stays quiet when it only just shouldn't, as Prometheus itself reckons.

What happens is in `alerts/*.yaml`, a file an area; of objectives it follows from the objective. One call of promtool
runs all of it, each area against its own rules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.observability import objectives
from components.observability.objectives import BAD, ERRORS, Burn, Objective
from components.observability.rule import Group, Scope
from components.observability.rules import AREAS, rule_groups
from tests.support import ROOT

CASES = ROOT / "tests/components/alerts"
SCOPE = Scope(monthly_budget_usd=7_300)
PROMTOOL = shutil.which("promtool")


def cases() -> dict[str, dict[str, Any]]:
    """Area -> alert -> what makes it fire, and what doesn't."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CASES.glob("*.yaml"))}


def of_burns() -> dict[str, dict[str, Any]]:
    """The same of objectives: each burn rate seen in both windows, in one only, and from too few events."""
    found: dict[str, dict[str, Any]] = {}
    for objective in objectives.objectives(SCOPE):
        all_of = found.setdefault(objective.alert, {"fires": [], "quiet": []})
        for burn in objective.burns:
            line = burn.rate * objective.budget
            over, under = line * 1.01, line * 0.99
            all_of["fires"].append({**_burning(objective, burn, over, over), "severity": burn.severity})
            for why, long, short in (("long", under, 1.0), ("short", 1.0, under)):
                case = _burning(objective, burn, long, short)
                all_of["quiet"].append({**case, "why": f"not in the {why} window", "severity": burn.severity})
            if objective.events:
                case = {**_burning(objective, burn, over, over, bad=9 / 30), "severity": burn.severity}
                all_of["quiet"].append({**case, "why": "nine requests"})
    return found


def _burning(objective: Objective, burn: Burn, long: float, short: float, *, bad: float = 20 / 30) -> dict[str, Any]:
    labels = ",".join([f'objective="{objective.name}"', *(f'{label}="x"' for label in objective.by)])
    series = {f"{ERRORS}{burn.long}{{{labels}}}": f"{long:.9g}", f"{ERRORS}{burn.short}{{{labels}}}": f"{short:.9g}"}
    # One sample of the recording: so many bad events in its half minute.
    return {"at": "0m", "series": {**series, f"{BAD}{{{labels}}}": f"{bad:.9g}"}}


def alerts_of(groups: list[dict[str, Any]]) -> set[str]:
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def written(directory: Path, groups: list[Group], told: dict[str, dict[str, Any]]) -> list[Path]:
    """promtool's tests of an area: of each alert a file of its own, with its rule and what the area records, so that no
    case evaluates the others. What fires is asked of ALERTS, so that a case needs no annotations."""
    paths = []
    for alert, kinds in told.items():
        rules = directory / f"{alert}-rules.yaml"
        rules.write_text(yaml.safe_dump({"groups": [_only(alert, group.group(SCOPE)) for group in groups]}))
        tests: dict[str, list[dict[str, Any]]] = {}
        for kind in ("fires", "quiet"):
            for case in kinds[kind]:
                interval = case.get("interval", "1m")
                tests.setdefault(interval, []).append({**_test(alert, kind, case), "interval": interval})
        for interval, those in tests.items():
            # Evaluated as often as there are samples: a case of days need not go by minutes.
            every = {"rule_files": [rules.name], "evaluation_interval": interval, "tests": those}
            paths.append(directory / f"{alert}-{interval}-tests.yaml")
            paths[-1].write_text(yaml.safe_dump(every))
    return paths


def _only(alert: str, group: dict[str, Any]) -> dict[str, Any]:
    return {**group, "rules": [rule for rule in group["rules"] if rule.get("alert", alert) == alert]}


def _test(alert: str, kind: str, case: dict[str, Any]) -> dict[str, Any]:
    severity = f',severity="{case["severity"]}"' if "severity" in case else ""
    fires = [{"labels": f'{{alertname="{alert}"}}', "value": case.get("firing", 1)}]
    asked = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"{severity}}})'
    return {
        "name": f"{alert}: {case.get('why', kind)}",
        "input_series": [{"series": series, "values": str(values)} for series, values in case["series"].items()],
        "promql_expr_test": [{"expr": asked, "eval_time": case["at"], "exp_samples": fires if kind == "fires" else []}],
    }


def promtool(*arguments: str | Path) -> str:
    """What promtool finds wrong. Without it (Debian: `apt-get install prometheus`) this skips; where it has to be there
    AICLOUD_PROMTOOL is set, and its absence fails."""
    if PROMTOOL is None:
        assert not os.environ.get("AICLOUD_PROMTOOL"), "promtool is not installed"
        pytest.skip("promtool is not installed")
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_each_alert_has_cases_in_which_it_fires_and_stays_quiet() -> None:
    told = {area: {**all_of} for area, all_of in cases().items()} | {"objectives": of_burns()}
    assert set(told) == set(AREAS)
    for area, module in AREAS.items():
        assert set(told[area]) == alerts_of([group.group(SCOPE) for group in module.groups(SCOPE)]), area
    for all_of in told.values():
        for alert, kinds in all_of.items():
            assert kinds["fires"], alert
            assert kinds["quiet"], alert
            assert all("why" in case for case in kinds["quiet"]), alert


def test_alerts_fire_and_stay_quiet(tmp_path: Path) -> None:
    told = cases() | {"objectives": of_burns()}
    files = [path for area, of in AREAS.items() for path in written(tmp_path, of.groups(SCOPE), told[area])]
    assert promtool("test", "rules", *files) == ""


def test_a_case_that_is_wrong_is_found(tmp_path: Path) -> None:
    """A test of the tests: what fires is said to stay quiet, and the other way round."""
    told = cases()["rollout"]
    for kinds in told.values():
        kinds["fires"], kinds["quiet"] = kinds["quiet"], kinds["fires"]
    found = promtool("test", "rules", *written(tmp_path, AREAS["rollout"].groups(SCOPE), told))
    wrong = sum(len(kinds["fires"]) + len(kinds["quiet"]) for kinds in told.values())
    assert found.count("FAILED") >= 1
    assert found.count("expr: ") == wrong


def test_prometheus_takes_all_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": rule_groups(SCOPE)}))
    assert promtool("check", "rules", path) == ""
