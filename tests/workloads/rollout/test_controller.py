"""The controller: killed anywhere it goes on as if it had not been, and sets only weights that its state allows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.workloads.rollout import plain
from tests.workloads.rollout.plain import FileRoute, control, in_a_process, killed_at, spec
from workloads.rollout.errors import Fenced, JournalError, NotAllowed, RoutingError, ShellFailed
from workloads.rollout.journal import DECISION, Journal, entries, read, remember
from workloads.rollout.metrics import ControllerMetrics
from workloads.rollout.observation import Observation
from workloads.rollout.observe import Seen
from workloads.rollout.routing import Fence
from workloads.rollout.shells import Replicas, Setting
from workloads.rollout.spec import Spec
from workloads.rollout.state import Decision, Phase, State

HEALTHY = [(0.0, 0.0), (0.0, 0.1), (0.05, 0.1), (0.25, 0.1), (0.5, 0.1), (1.0, 0.0)]
FAILING = [*HEALTHY[:4], (0.0, 0.0)]
"""What is in force, one after the other."""
SCENARIOS = {"promoted": (10**9, Phase.PROMOTED, HEALTHY), "rolled back": (6, Phase.ROLLED_BACK, FAILING)}


def looks(directory: Path) -> list[int]:
    """The observer's numbers of the looks that were decided upon."""
    text = read(directory / "journal.jsonl")
    return [entry["cursor"] for entry in entries(text, "journal") if entry["kind"] == DECISION]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_rollout_takes_its_way(scenario: str, tmp_path: Path) -> None:
    failing_from, phase, settings = SCENARIOS[scenario]
    assert control(tmp_path, failing_from=failing_from).phase is phase
    route = FileRoute(tmp_path)
    assert route.settings == settings
    assert not route.wrong.exists()
    assert looks(tmp_path) == list(range(1, len(looks(tmp_path)) + 1))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_any_point_it_goes_on_and_comes_to_the_same_end(scenario: str, tmp_path: Path) -> None:
    """At every boundary of the loop, from taking over to having written down that weights are set."""
    failing_from, phase, settings = SCENARIOS[scenario]
    hits: list[str] = []
    (tmp_path / "whole").mkdir()
    control(tmp_path / "whole", failing_from=failing_from, failpoint=hits.append)
    assert set(hits) == {"taken-over", "observed", "decided", "journalled", "checked", "set", "done"}
    whole = looks(tmp_path / "whole")

    for hit in range(1, len(hits) + 1):
        directory = tmp_path / str(hit)
        directory.mkdir()
        first = in_a_process(
            lambda at=hit, where=directory: control(where, failing_from=failing_from, failpoint=killed_at({at}))
        )
        assert first == -9, hits[hit - 1]
        assert in_a_process(lambda where=directory: control(where, failing_from=failing_from)) == 0
        route = FileRoute(directory)
        assert not route.wrong.exists(), f"{hits[hit - 1]}: {route.wrong.read_text()}"
        assert route.settings == settings, hits[hit - 1]
        assert remember(read(directory / "journal.jsonl"), "journal").state.phase is phase
        # Each count was part of one decision, and only one.
        assert looks(directory) == whole, hits[hit - 1]


@pytest.mark.parametrize("failing_from", [10**9, 7])
def test_killed_it_comes_to_the_same_end_by_the_same_evidence(failing_from: int, tmp_path: Path) -> None:
    """With the decisions that are made in earnest: what is observed once counts once."""
    (tmp_path / "whole").mkdir()
    whole = control(tmp_path / "whole", decides=None, failing_from=failing_from)
    assert whole.phase is (Phase.PROMOTED if failing_from > 100 else Phase.ROLLED_BACK)
    chance = random.Random(failing_from)
    code = -9
    while code:
        hits = {chance.randint(5, 12)}
        code = in_a_process(
            lambda at=hits: control(tmp_path, decides=None, failing_from=failing_from, failpoint=killed_at(at))
        )
        assert code in (0, -9)
    found = remember(read(tmp_path / "journal.jsonl"), "journal")
    assert (found.state.phase, found.state.reason) == (whole.phase, whole.reason)
    assert found.state.evidence == whole.evidence
    assert found.token > 2
    assert FileRoute(tmp_path).settings == FileRoute(tmp_path / "whole").settings
    assert not FileRoute(tmp_path).wrong.exists()
    assert looks(tmp_path) == looks(tmp_path / "whole")


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again_it_still_arrives(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    failing_from, phase, settings = SCENARIOS[chance.choice(list(SCENARIOS))]
    for _ in range(200):
        at = chance.randint(1, 9)
        code = in_a_process(lambda hit=at: control(tmp_path, failing_from=failing_from, failpoint=killed_at({hit})))
        assert code in (0, -9)
        if chance.random() < 0.3 and code:
            # Half a line is what a kill in the middle of a write leaves.
            with (tmp_path / "journal.jsonl").open("a") as file:
                file.write('{"kind":"decision","number":')
        if code == 0:
            break
    route = FileRoute(tmp_path)
    assert not route.wrong.exists()
    assert route.settings == settings
    assert remember(read(tmp_path / "journal.jsonl"), "journal").state.phase is phase
    assert looks(tmp_path) == list(range(1, len(looks(tmp_path)) + 1))


def test_a_person_goes_back_whatever_the_observer_says(tmp_path: Path) -> None:
    class Blind:
        def look(self, *_: object) -> tuple[Seen, object]:
            if FileRoute(tmp_path).settings[-1][0] == 0.05:
                (tmp_path / "asked").touch()
                raise ShellFailed("Prometheus is away")
            return Seen(), None

    assert control(tmp_path, observer=Blind()).phase is Phase.ROLLED_BACK
    assert "nothing seen: Prometheus is away" in (tmp_path / "out").read_text()
    assert FileRoute(tmp_path).settings == [*HEALTHY[:3], (0.0, 0.0)]


def test_a_request_to_go_back_is_heard_once(tmp_path: Path) -> None:
    count = [0]

    def ask(name: str) -> None:
        count[0] += name == "observed"
        if count[0] == 5:
            (tmp_path / "asked").touch()

    assert control(tmp_path, failpoint=ask).phase is Phase.ROLLED_BACK
    assert not (tmp_path / "asked").exists()
    # After the end too: then it is one more decision.
    (tmp_path / "asked").touch()
    assert control(tmp_path).phase is Phase.ROLLED_BACK


def test_it_stays_after_the_end_for_its_metrics_and_for_a_person(tmp_path: Path) -> None:
    metrics = ControllerMetrics("lm-2")
    promoted: list[float] = []

    def sleeping(now: float) -> None:
        labels = {"rollout": "lm-2", "state": "promoted"}
        if metrics.exported.registry.get_sample_value("rollout_state", labels):
            promoted.append(now)

    assert control(tmp_path, metrics=metrics, linger_s=60, sleeping=sleeping).phase is Phase.PROMOTED
    assert promoted[-1] - promoted[0] == pytest.approx(60, abs=1)

    # The next life of one that was killed meanwhile stays as well; asked to go back it does so, and stays again.
    slept: list[float] = []

    def asks(now: float) -> None:
        slept.append(now)
        if len(slept) == 20:
            (tmp_path / "asked").touch()

    assert control(tmp_path, linger_s=60, sleeping=asks).phase is Phase.ROLLED_BACK
    # A look later the old version's requests have been seen, and a minute after that it ends.
    assert slept[-1] - slept[19] == pytest.approx(spec().look_interval_s + 60, abs=1)
    assert FileRoute(tmp_path).settings[-1] == (0.0, 0.0)


@pytest.mark.parametrize("weight", [0.06, 0.3, 1.0])
def test_weights_that_no_state_allows_are_not_set(weight: float, tmp_path: Path) -> None:
    def wrong(spec: Spec, state: State, seen: Observation) -> Decision:
        decision = plain.decide(spec, state, seen)
        if decision.state.phase is Phase.STEPPING and decision.state.step == 0:
            object.__setattr__(decision.state, "weight", weight)
        return decision

    with pytest.raises(NotAllowed, match="expected Allowed"):
        control(tmp_path, decides=wrong)
    route = FileRoute(tmp_path)
    assert route.settings == HEALTHY[:2]
    assert not route.wrong.exists()
    # Nor is it written down: a journal has only what may follow.
    assert remember(read(tmp_path / "journal.jsonl"), "journal").state.phase is Phase.SHADOWING


def test_a_step_that_may_not_follow_is_not_taken(tmp_path: Path) -> None:
    def leaping(spec: Spec, state: State, seen: Observation) -> Decision:
        after = State(Phase.PROMOTED, weight=1.0)
        return (
            Decision("promote", "leap", after, {}) if state.phase is Phase.WAITING else plain.decide(spec, state, seen)
        )

    with pytest.raises(NotAllowed, match="promoted cannot follow waiting-for-replicas"):
        control(tmp_path, decides=leaping)
    assert FileRoute(tmp_path).settings == [(0.0, 0.0)]


def test_nobody_gets_requests_before_its_replicas_are_ready(tmp_path: Path) -> None:
    class Late(FileRoute):
        asked = 0

        def replicas(self) -> Replicas:
            self.asked += 1
            self.ready = int(self.asked > 5)
            return super().replicas()

    route = Late(tmp_path)
    assert control(tmp_path, route=route).phase is Phase.PROMOTED
    assert route.asked > 10
    assert route.settings == HEALTHY
    assert not route.wrong.exists()


@pytest.mark.parametrize("failing_from", [10**9, 8])
def test_replicas_are_exchanged_one_by_one(failing_from: int, tmp_path: Path) -> None:
    """Strategy rolling: each is there one look after it was asked for. Shares never run ahead of those that are ready,
    but for the last one's, when the others are proven; and nobody goes who still has requests."""

    class Deployments(FileRoute):
        ready, asked = 0, 0
        scaled: list[tuple[int, int]] = []

        def scale(self, candidate: int, baseline: int) -> None:
            if not self.scaled or self.scaled[-1] != (candidate, baseline):
                self.scaled.append((candidate, baseline))
            self.asked = candidate
            if (not baseline and self.current()[0].weight < 1) or (not candidate and self.current()[0].weight):
                self.wrong.write_text(f"{candidate} and {baseline} replicas while somebody has requests there")

        def replicas(self) -> Replicas:
            found = Replicas(4 - self.ready, self.ready)
            self.ready = self.asked
            return found

        def set(self, setting: Setting, fence: Fence) -> None:
            if setting.weight > (self.ready + (setting.weight == 1)) / 4 + 1e-9:
                self.wrong.write_text(f"{setting} with {self.ready} of 4 ready")
            super().set(setting, fence)

    route = Deployments(tmp_path)
    route.scaled = []
    rolling = spec(strategy="rolling", replicas=4, steps=[{"percent": 50, "looks": 2}])
    state = control(tmp_path, route=route, decides=None, rollout=rolling, failing_from=failing_from)
    assert not route.wrong.exists(), route.wrong.read_text()
    weights = [weight for weight, _ in route.settings]
    if failing_from > 100:
        assert state.phase is Phase.PROMOTED
        assert route.scaled == [(1, 3), (2, 2), (3, 1), (4, 0)]
        assert [weight for weight in weights if weight] == [0.25, 0.5, 0.75, 1.0]
    else:
        assert state.phase is Phase.ROLLED_BACK
        assert route.scaled[-1] == (0, 4)
        assert weights[-1] == 0


def test_what_fails_is_tried_again(tmp_path: Path) -> None:
    failing = random.Random(1)
    route = FileRoute(tmp_path)
    route.fail = lambda: failing.random() < 0.6
    assert control(tmp_path, route=route).phase is Phase.PROMOTED
    # That nobody has requests needs no telling.
    assert route.settings == HEALTHY[1:]
    assert not route.wrong.exists()
    assert "not set: as told" in (tmp_path / "out").read_text()


def test_weights_that_somebody_has_moved_are_put_back(tmp_path: Path) -> None:
    route = FileRoute(tmp_path)
    moved: list[float] = []

    def move(name: str) -> None:
        setting, fence = route.current()
        if name == "done" and setting.weight == 0.25 and not moved:
            moved.append(setting.weight)
            route.path.open("a").write(f'{{"weight": 0.9, "mirror": 0, "fence": [{fence.token}, {fence.number}]}}\n')

    assert control(tmp_path, route=route, failpoint=move).phase is Phase.PROMOTED
    assert moved
    assert [setting for setting, _ in route.settings] == [0.0, 0.0, 0.05, 0.25, 0.9, 0.25, 0.5, 1.0]


def test_the_older_of_two_controllers_ends(tmp_path: Path) -> None:
    route = FileRoute(tmp_path)

    def taken_over(name: str) -> None:
        if name == "observed" and route.current()[0].weight == 0.05:
            route.path.open("a").write('{"weight": 0.05, "mirror": 0.1, "fence": [9, 1]}\n')

    with pytest.raises(Fenced):
        control(tmp_path, route=route, failpoint=taken_over)
    assert route.settings[-1] == (0.05, 0.1)
    # The next one has a greater token than anybody.
    assert control(tmp_path).phase is Phase.PROMOTED
    assert route.told[-1]["fence"][0] == 10


def test_a_rollout_begins_with_nobody_at_the_candidate(tmp_path: Path) -> None:
    route = FileRoute(tmp_path)
    (tmp_path / "route.jsonl").write_text('{"weight": 0.2, "mirror": 0, "fence": [0, 0]}\n')
    with pytest.raises(RoutingError, match=r"lm:2 has 20\.0% of the requests already"):
        control(tmp_path)
    assert route.settings == [(0.2, 0)]


def test_a_journal_has_one_controller_and_one_rollout(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "journal.jsonl", spec(), lambda: 0.0),
        pytest.raises(JournalError, match="another controller has it open"),
        Journal(tmp_path / "journal.jsonl", spec(), lambda: 0.0),
    ):
        pass
    with (
        pytest.raises(JournalError, match=r"another candidate, steps: expected the same specification"),
        Journal(tmp_path / "journal.jsonl", spec(candidate="lm:3", steps=[{"percent": 1}]), lambda: 0.0),
    ):
        pass


def test_metrics_say_where_it_stands(tmp_path: Path) -> None:
    metrics = ControllerMetrics("lm-2")
    value = metrics.exported.registry.get_sample_value
    found: list[tuple[float | None, ...]] = []

    def look(_: str) -> None:
        states = [value("rollout_state", {"rollout": "lm-2", "state": str(phase)}) for phase in Phase]
        found.append(
            (sum(filter(None, states)), value("rollout_weight_ratio", {"rollout": "lm-2", "arm": "candidate"}))
        )

    control(tmp_path, failpoint=look, metrics=metrics)
    assert {count for count, _ in found[1:]} == {1.0}
    assert {weight for _, weight in found[1:]} == {0.0, 0.05, 0.25, 0.5, 1.0}
    assert value("rollout_state", {"rollout": "lm-2", "state": "promoted"}) == 1
    labels = {"rollout": "lm-2", "action": "stepping", "reason": "shadowed"}
    assert value("rollout_decisions_total", labels) == 1


@pytest.mark.parametrize(("alone", "requests", "share"), [(False, 950, None), (True, 50, 0.05)])
def test_the_candidate_is_compared_with_all_others_or_with_a_control(
    alone: bool, requests: int, share: float | None, tmp_path: Path
) -> None:
    control(tmp_path, decides=None, failing_from=4, alone=alone)
    seen = [
        entry["observation"] for entry in entries(read(tmp_path / "journal.jsonl"), "j") if entry["kind"] == DECISION
    ]
    # While the candidate has no requests there is no control.
    assert (seen[0]["baseline"]["requests"], seen[0]["baseline_weight"]) == (1000, None)
    assert (seen[2]["baseline"]["requests"], seen[2]["baseline_weight"]) == (requests, share)


def test_a_setting_is_a_share_of_three_arms() -> None:
    assert Setting(0.25).shares == {"candidate": 0.25, "control": 0.25, "baseline": 0.5}
    assert Setting(0.75).shares == {"candidate": 0.75, "control": 0.25, "baseline": 0.0}
    assert Setting(1.0).shares == {"candidate": 1.0, "control": 0.0, "baseline": 0.0}
    assert Fence(1, 9) < Fence(2, 0)
