"""Requests go back to the server that has the new version as well: in steps, while it is ready, and only then."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workloads.rollout.cluster import ApiServer
from tests.workloads.rollout.test_gateway import CANARY, STABLE, program_s_rules, shares
from workloads.rollout import cli
from workloads.rollout.errors import Fenced
from workloads.rollout.gateway import FENCE, GatewayRoute
from workloads.rollout.hand_over import hand_over
from workloads.rollout.kubernetes import Cluster
from workloads.rollout.routing import Fence
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, Setting


@pytest.fixture
def api(tmp_path: Path) -> ApiServer:
    return ApiServer({"spec": {"parentRefs": [{"name": "route"}], "rules": program_s_rules()}}, tmp_path / "account")


def promoted(api: ApiServer, url: str) -> GatewayRoute:
    route = GatewayRoute(Cluster(url, account=api.account), "gateway", "route-lm", STABLE, CANARY)
    route.set(Setting(1.0), Fence(3, 17))
    api.patches.clear()
    api.ready = {"stable-lm": {"10.0.0.1": True, "10.0.0.2": True}, "canary-lm": {"10.0.0.3": True}}
    return route


def candidate(api: ApiServer) -> list[int]:
    """The candidate's weights, change by change."""
    return [patch["spec"]["rules"][1]["backendRefs"][0]["weight"] for patch in api.patches]


def handed(route: GatewayRoute, sleep: Callable[[float], None] = lambda _: None, ready: int = 2) -> str:
    out = io.StringIO()
    hand_over(route, ready_replicas=ready, sleep=sleep, out=out)
    return out.getvalue()


def test_its_share_doubles_until_it_has_all(api: ApiServer) -> None:
    pauses: list[float] = []
    with api.running() as url:
        said = handed(promoted(api, url), pauses.append)
    assert candidate(api) == [9000, 8000, 6000, 2000, 0]
    assert shares(api) == [(CANDIDATE, "canary-lm", 0), (BASELINE, "stable-lm", 10000), (CONTROL, "stable-lm", 0)]
    assert pauses == [60.0] * 4 + [0.0]
    assert said.splitlines()[-1] == "handed over: the baseline has all requests"
    assert api.route["metadata"]["annotations"][FENCE] == "4.5"


def test_it_waits_for_replicas_and_gives_back_what_they_cannot_take(api: ApiServer) -> None:
    seen: list[int] = []

    def sleep(_: float) -> None:
        seen.append(shares(api)[0][2])
        ready = {"10.0.0.1": True, "10.0.0.2": True}
        # Not there yet; there; one is lost with a fifth of the requests; back.
        rounds = [{}, ready, ready, {"10.0.0.1": True}]
        api.ready["stable-lm"] = rounds[len(seen) - 1] if len(seen) <= len(rounds) else ready

    with api.running() as url:
        route = promoted(api, url)
        api.ready["stable-lm"] = {}
        said = handed(route, sleep)
    assert seen == [10000, 10000, 9000, 8000, 10000, 9000, 8000, 6000, 2000, 0]
    assert "0% to the baseline: 1 of 2 replicas ready" in said


def test_nobody_ready_changes_nothing_and_an_api_that_is_away_is_waited_for(api: ApiServer) -> None:
    rounds: list[float] = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            assert api.patches == []
            api.ready = {"stable-lm": {"10.0.0.1": True}}
            api.fail = [503]

    with api.running() as url:
        route = promoted(api, url)
        api.ready = {}
        said = handed(route, sleep, ready=1)
    assert rounds[:3] == [2.0] * 3
    assert "waiting: GET" in said
    assert candidate(api)[-1] == 0


def test_killed_anywhere_it_is_begun_again_from_what_is_in_force(api: ApiServer) -> None:
    class Killed(Exception): ...

    def killed(_: float) -> None:
        raise Killed

    with api.running() as url:
        route = promoted(api, url)
        for _ in range(4):
            with pytest.raises(Killed):
                handed(route, killed)
        handed(route)
        assert candidate(api) == [9000, 8000, 6000, 2000, 0]
        # Whoever was there before has lost the word.
        with pytest.raises(Fenced):
            route.set(Setting(1.0), Fence(3, 18))
        # There is nothing more to do.
        api.patches.clear()
        handed(route)
        assert api.patches == []


def test_the_command(api: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["hand-over", "--route", "gateway/route-lm", "--baseline", "serving/stable-lm"]
    with api.running() as url:
        promoted(api, url)
        monkeypatch.setattr(cli, "Cluster", lambda address: Cluster(address, account=api.account))
        command = [*words, "--candidate", "serving/canary-lm", "--pause-s", "0", "--cluster", url]
        assert cli.main(command) == 0
        assert "80% to the baseline\n100% to the baseline\nhanded over" in capsys.readouterr().out
        api.fail = [404]
        assert cli.main(command) == 2
    assert "404" in capsys.readouterr().err
    assert cli.main([*words, "--candidate", "serving/stable-lm", "--cluster", "http://127.0.0.1:1"]) == 2
    assert "expected two" in capsys.readouterr().err
