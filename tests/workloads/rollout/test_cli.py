"""The commands as processes: a router, a controller that is killed again and again, and what a person asks of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import ROOT
from tests.workloads.rollout.arms import INFER, Server
from tests.workloads.rollout.plain import control, spec
from workloads.rollout import cli
from workloads.rollout.journal import DECISION, entries, read, remember
from workloads.rollout.state import Phase

QUICK = {
    "steps": [{"percent": 20, "looks": 2}, {"percent": 50, "looks": 2}],
    "mirror_percent": 100,
    "guardrails": {"errors": {"margin": 0.2, "alpha": 0.05}, "quality": {"margin": 0.1, "alpha": 0.05}},
    "harm_budget_requests": 10_000,
    "look_interval_s": 0.3,
    "deadline_s": 300,
}
CLUSTER = ["--route", "gateway/route-lm"]
WORDS = [sys.executable, "-m", "workloads.rollout"]


@contextlib.asynccontextmanager
async def router(directory: Path, baseline: str) -> AsyncIterator[tuple[str, str]]:
    """Where its requests and its shares are."""
    options = ["--rollout", "lm-2", "--model", "lm", "--baseline", baseline, "--state", str(directory / "routing.json")]
    process = await asyncio.create_subprocess_exec(
        *WORDS, "router", *options, "--port", "0", "--admin-port", "0", cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        data, admin = re.findall(r"127\.0\.0\.1:\d+", line)
        yield f"http://{data}", f"http://{admin}"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Load:
    """Requests without a pause; `failed` has whatever was not answered with 200."""

    def __init__(self, url: str) -> None:
        self._url, self.failed, self.answered = url, [], {}  # type: ignore[var-annotated]

    async def __aenter__(self) -> Load:
        self._session = aiohttp.ClientSession()
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _ask(self) -> None:
        while True:
            try:
                async with self._session.post(self._url + INFER, data=b"{}") as response:
                    await response.read()
                    if response.status != 200:
                        self.failed.append(response.status)
                    arm = response.headers["x-served-by"]
                    self.answered[arm] = self.answered.get(arm, 0) + 1
            except aiohttp.ClientError as error:
                self.failed.append(error)
            await asyncio.sleep(0.005)


def run_words(directory: Path, admin: str, servers: list[Server]) -> list[str]:
    (directory / "spec.json").write_text(json.dumps(spec(**QUICK).to_json()))
    words = [*WORDS, "run", "--spec", str(directory / "spec.json"), "--journal", str(directory / "journal.jsonl")]
    words += ["--router", admin]
    for name, server in zip(("--baseline", "--candidate"), servers, strict=True):
        words += [name, f"http://{server.address}"]
    return words


def written(directory: Path) -> int:
    path = directory / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("healthy", [True, False])
def test_a_controller_that_is_killed_again_and_again_moves_real_requests(healthy: bool, tmp_path: Path) -> None:
    """SIGKILL at some moment after each few entries, under load: no request fails, and the end is the right one."""
    chance = random.Random(healthy)

    async def life(words: list[str], entries: int) -> int:
        """Of one controller, until it ends or has written so many entries and a moment more."""
        process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=subprocess.DEVNULL)
        until = written(tmp_path) + entries
        while process.returncode is None:
            if written(tmp_path) >= until:
                await asyncio.sleep(chance.uniform(0, 0.4))
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                break
            await asyncio.sleep(0.01)
        return await process.wait()

    async def test() -> None:
        stable, candidate = Server("stable", 2.0), Server("candidate", 2.0 if healthy else 3.0)
        async with stable.running(), candidate.running(), router(tmp_path, f"http://{stable.address}") as (data, admin):
            async with Load(data) as load:
                words, lives = run_words(tmp_path, admin, [stable, candidate]), 1
                while (code := await life(words, chance.randint(2, 5))) == -9:
                    lives += 1
                assert code == (0 if healthy else 10)
                if healthy:
                    before = load.answered.get("candidate", 0)
                    while load.answered.get("candidate", 0) < before + 10:
                        await asyncio.sleep(0.05)
            assert load.failed == []
            async with aiohttp.ClientSession() as session, session.get(f"{admin}/routing") as response:
                routing = await response.json()
        memory = remember(read(tmp_path / "journal.jsonl"), "journal")
        assert memory.state.phase is (Phase.PROMOTED if healthy else Phase.ROLLED_BACK)
        assert routing["weights"]["candidate"] == float(healthy)
        assert routing["fence"]["token"] == memory.token == lives > 1
        if not healthy:
            assert memory.state.reason == "quality-worse"

    asyncio.run(asyncio.wait_for(test(), 150))
    # All of it can be decided again, and nothing was ever to be set that the states do not allow.
    assert cli.main(["replay", "--journal", str(tmp_path / "journal.jsonl")]) == 0


# ---- what a person asks


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    control(tmp_path, decides=None, failing_from=5)
    return tmp_path / "journal.jsonl"


def test_status_is_for_a_person(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--journal", str(journal)]) == 0
    said = capsys.readouterr().out
    first, *others = said.splitlines()
    assert first == "lm-2: lm:1 -> lm:2, canary"
    assert "  phase      rolled-back, step 2 of 3 (errors-worse)" in others
    assert "  traffic    0.00% to lm:2, 100.00% to lm:1" in others
    assert re.search(r"roll-back +errors-worse +0\.00% +250 requests, 50 failed; beside: 750, 0 failed", said)
    assert re.search(r"errors +alarm [\d.e+]+ of 20 +proof \S+ of 20 +margin 0\.05; baseline 0, candidate 0\.\d+", said)
    assert max(map(len, said.splitlines())) <= 150


def test_status_is_for_programs_too(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json", "--journal", str(journal)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rollout"], said["phase"], said["in_force"], said["weight"]) == ("lm-2", "rolled-back", True, 0.0)


def test_replay_finds_what_was_not_decided(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", "--journal", str(journal)]) == 0
    assert re.fullmatch(r"\d+ decisions: none different\n", capsys.readouterr().out)
    found = [json.loads(line) for line in journal.read_text().splitlines()]
    (number,) = [
        n for n, line in enumerate(found) if line["kind"] == DECISION and line["decision"]["action"] == "roll-back"
    ]
    found[number]["decision"]["reason"] = "a feeling"
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in found))
    assert cli.main(["replay", "--journal", str(journal)]) == 1
    assert f"entry {number}: reason: 'a feeling' written, 'errors-worse' now" in capsys.readouterr().out


def test_abort_asks_the_controller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal, asked = tmp_path / "journal.jsonl", [0]

    def abort(name: str) -> None:
        asked[0] += name == "observed"
        if asked[0] == 4 and name == "observed":
            assert cli.main(["abort", "--journal", str(journal)]) == 0

    assert control(tmp_path, failpoint=abort, asked="journal.jsonl.rollback").phase is Phase.ROLLED_BACK
    assert "lm-2: asked to go back to lm:1" in capsys.readouterr().out
    assert [
        entry["observation"]["request"] for entry in entries(read(journal), "j") if entry["kind"] == DECISION
    ].count("rollback") == 1
    (tmp_path / "journal.jsonl.rollback").touch()
    assert cli.main(["status", "--journal", str(journal)]) == 0
    assert "to go back; no controller has heard of it yet" in capsys.readouterr().out


def test_a_specification_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec().to_json()))
    assert cli.main(["validate", "--spec", str(path)]) == 0
    assert "lm-2: lm:1 -> lm:2, canary; steps: 5 %, 25 %, 50 %" in capsys.readouterr().out
    path.write_text("name: lm-2\n")
    assert cli.main(["validate", "--spec", str(path)]) == 2
    assert "spec.json: specification" in capsys.readouterr().err
    assert cli.main(["validate", "--spec", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--router", "localhost:8081"], "expected http://HOST:PORT"),
        (["--router", "http://127.0.0.1:1", "--baseline", "http://a:1"], "expected both"),
        (CLUSTER, "--baseline: expected with --route"),
        ([*CLUSTER, "--baseline", "serving/a", "--candidate", "serving/b"], "--prometheus: expected with --route"),
        (
            [*CLUSTER, "--baseline", "serving/a", "--candidate", "serving/b", "--prometheus", "http://p:9090"],
            "KUBERNETES_SERVICE_HOST is not set",
        ),
    ],
)
def test_what_cannot_be_run_is_told(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec().to_json()))
    assert cli.main(["run", "--spec", str(path), "--journal", str(tmp_path / "j"), *words]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["router", "--baseline", "triton:8000"], ["run", "--route", "route"], ["run", "--ready-replicas", "0"]]
)
def test_wrong_arguments_are_argparse_s(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.parser().parse_args([*words, "--spec", "a", "--journal", "b"] if words[0] == "run" else words)
    assert end.value.code == 2
    assert "expected" in capsys.readouterr().err
