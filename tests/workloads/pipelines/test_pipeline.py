"""The pipeline with its real steps on a tiny model: what comes out, what the gate lets pass, what is registered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from workloads.pipelines import metrics
from workloads.pipelines.cli import main
from workloads.pipelines.errors import REJECTED, ArgumentError
from workloads.pipelines.registry import CANDIDATE, CHAMPION, PREVIOUS
from workloads.pipelines.run import Run
from workloads.pipelines.runners.local import StepFailed
from workloads.pipelines.status import FAILED, REGISTERED, status
from workloads.pipelines.steps.sign import KEY
from workloads.serving import quantization
from workloads.serving.engine.files import SCALE
from workloads.serving.errors import VerificationFailed
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.models import text
from workloads.serving.models.scoring import Scorer
from workloads.serving.signing import make_key, public_key
from workloads.serving.store import Repository

BOTH = [ModelVersion("model", 1), ModelVersion("model-scorer", 1)]


@pytest.fixture(scope="module")
def better(place, first):
    """The second one: begins with the weights of the first, and is held against it."""
    assert first.outcome == REGISTERED
    return place.run("better", champion="registry")


@pytest.fixture(scope="module")
def worse(place, better):
    """One that was trained too fast, with all that the runner told of it."""
    assert better.outcome == REGISTERED
    events = []
    training = {"optimizer.learning_rate": "1.0", "training.steps": "8"}
    found = place.run("worse", events.append, champion="registry", training=training)
    return found, events


def test_every_step_is_done_and_what_it_took_and_cost_is_known(place, first):
    assert first.outcome == REGISTERED
    assert all(first.steps.values())
    for step in place.open("first").pipeline.steps:
        done = first.steps[step.name]
        assert set(done.outputs) == set(step.outputs)
        hourly = 0.04 * step.resources.cpu + 0.7 * step.resources.accelerators
        assert done.cost_usd == pytest.approx(hourly * done.wall_s / 3600)
    said = "\n".join(first.lines())
    assert "registered" in said
    assert "train " in said


def test_a_run_that_is_done_does_nothing_again(place, first):
    again = place.run("first")
    assert again.to_json() == first.to_json()


def test_the_version_is_served_only_with_the_signature_of_who_is_trusted(place, first, tmp_path):
    assert first.outcome == REGISTERED
    source, trusted = f"file://{place.root}/models", public_key(place.public)
    assert fetch(source, tmp_path / "served", BOTH, trusted=trusted) > 0
    scored = tmp_path / "served" / "model-scorer" / "1"
    scorer = Scorer(scored, *text.read(scored))
    assert 0 < scorer.score([scorer.tokens(b"import os")], [9])[0].bits_per_byte < 8

    stranger = public_key(make_key(tmp_path / "stranger.pem"))
    with pytest.raises(VerificationFailed, match="signed by key"):
        fetch(source, tmp_path / "refused", BOTH, trusted=stranger)
    copy = tmp_path / "copy"
    shutil.copytree(place.root / "models", copy)
    manifest = copy / "model" / "1" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(VerificationFailed, match="changed after it was signed"):
        fetch(f"file://{copy}", tmp_path / "refused", BOTH, trusted=trusted)
    (manifest.parent / "manifest.sig").unlink()
    with pytest.raises(VerificationFailed, match="it is not signed"):
        fetch(f"file://{copy}", tmp_path / "refused", BOTH, trusted=trusted)
    # Who does not ask is not told.
    assert fetch(f"file://{copy}", tmp_path / "anybody", BOTH) > 0
    assert not (tmp_path / "refused" / "model").exists()


def test_the_manifest_says_what_the_version_is_made_of(place, better):
    number = place.open("better").resolved["version"]
    assert number == 2
    found = Repository(f"file://{place.root}/models").manifest(ModelVersion("model", 2)).provenance
    assert found["champion"] == place.open("better").resolved["champion_digest"] != ""
    assert found["evaluation"]["held_out_bits_per_byte"] < found["evaluation"]["champion_bits_per_byte"]
    assert found["quantization"]["precision"] == "int8"
    assert found["quantization"]["loss"] <= 0.01
    assert found["checkpoint"] == {"step": 24, "tokens": 24 * 8 * 64, "config": "tiny"}
    assert better.steps["quantize"].facts["size"] < 0.5


def test_the_second_begins_where_the_first_ended(place, first, better, tmp_path):
    curves = [
        [json.loads(line) for line in place.open(name).artifact("curve", tmp_path).read_text().splitlines()]
        for name in ("first", "better")
    ]
    assert curves[1][0]["loss"] < curves[0][0]["loss"] - 1
    assert first.steps["train"].parameters["champion_digest"] == ""
    assert better.steps["train"].parameters["champion_digest"] != ""


def test_the_registry_knows_figures_and_lineage_and_moves_its_aliases(place, first, better):
    registry, run = place.registry, place.open("better")
    assert first.outcome == better.outcome == REGISTERED
    candidate = registry.get("model", CANDIDATE)
    assert candidate.tags["corpus_fingerprint"] == run.resolved["corpus_fingerprint"]
    assert candidate.tags["weights"] == run.place("model")
    assert float(candidate.tags["bits_per_byte"]) == pytest.approx(better.steps["evaluate"].facts["bits_per_byte"])
    tracked = registry._client.get_run(candidate.run)
    assert tracked.data.tags["artifact.model"] == better.steps["train"].outputs["model"]["digest"]
    assert tracked.data.metrics["slice.length.long.bits_per_byte"] > 0
    assert tracked.data.metrics["champion_bits_per_byte"] > tracked.data.metrics["bits_per_byte"]
    below = registry._client.search_runs([tracked.info.experiment_id], f"tags.`mlflow.parentRunId` = '{candidate.run}'")
    # Not the one that registers: it tells of the others.
    assert {one.data.tags["step"] for one in below} == set(better.steps) - {"register"}
    reports = {item.path for item in registry._client.list_artifacts(candidate.run, "reports")}
    assert "reports/evaluation" in reports

    old = registry.aliases("model")[CHAMPION]
    registry.promote("model", candidate.version)
    registry.promote("model", candidate.version)
    assert registry.aliases("model") == {CANDIDATE: candidate.version, CHAMPION: candidate.version, PREVIOUS: old}
    assert registry.roll_back("model") == old
    assert registry.aliases("model") == {CANDIDATE: candidate.version, CHAMPION: old}
    with pytest.raises(ArgumentError, match="no champion before this one"):
        registry.roll_back("model")
    assert registry.aliases("nobody") == {}


def test_registering_again_registers_nothing_anew(place, better, monkeypatch):
    """As after a kill between the registry and the marker."""
    run = place.open("better")
    done, registry = better.steps["register"], place.registry
    before = registry.aliases("model")[CANDIDATE]
    marker = Path(run.store.url) / "steps" / "register" / f"{done.key}.json"
    marker.rename(marker.with_suffix(".aside"))
    again, now = place.open("better").do(run.pipeline.step("register"))
    assert now
    assert again.facts == done.facts
    assert registry.aliases("model")[CANDIDATE] == before
    monkeypatch.delenv(KEY)


def test_a_model_that_is_worse_goes_no_further(place, worse, capsys):
    found, events = worse
    assert found.outcome == "rejected"
    assert found.reasons[0].startswith("overall: ")
    assert [event.task for event in events if event.what == "skipped"] == ["quantize", "export", "sign", "register"]
    assert [event.task for event in events if event.what == "rejected"] == ["gate"]
    assert not (place.root / "models" / "model" / "3").exists()
    url = str(place.root / "runs" / "worse")
    assert main(["gate", "--run", url]) == REJECTED
    assert main(["status", "--run", url]) == 0
    assert "rejected" in capsys.readouterr().out
    # Who is rejected is known of as well.
    client = place.registry._client
    experiment = client.get_experiment_by_name("retrain").experiment_id
    (tracked,) = client.search_runs([experiment], f"tags.`pipeline.run` = '{place.open('worse').id}'")
    assert tracked.data.metrics["bits_per_byte"] > tracked.data.metrics["champion_bits_per_byte"]


def test_the_gate_answers_in_a_file_where_it_is_asked_to(place, first, worse, tmp_path):
    assert first.outcome == REGISTERED
    assert worse[0].outcome == "rejected"
    for name, accepted in (("first", "true"), ("worse", "false")):
        url = str(place.root / "runs" / name)
        assert main(["gate", "--run", url, "--answer", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text() == accepted
        assert main(["gate", "--run", url, "--answer", str(tmp_path / f"{name}.json")]) == 0
        assert json.loads((tmp_path / f"{name}.json").read_text()) == {"accepted": accepted == "true"}


def test_a_stricter_margin_judges_anew_and_trains_nothing(place, first, better):
    """The same run with another parameter: only what reads it is done."""
    assert first.outcome == better.outcome == REGISTERED
    before = place.open("better")
    found = place.run("better", champion="registry", quantization_limit=0.005)
    after = place.open("better")
    for name in ("validate-data", "build-features", "train", "evaluate"):
        assert found.steps[name] == better.steps[name]
    assert found.steps["quantize"].key != better.steps["quantize"].key
    # It came out the same, so what follows was not done again.
    assert found.steps["register"] == before.done(before.pipeline.step("register"))
    assert after.resolved["version"] == before.resolved["version"]


def test_fewer_bits_that_cost_too_much_are_refused_and_told_of(place, first, tmp_path, monkeypatch, capsys):
    assert first.outcome == REGISTERED
    shutil.copytree(place.root / "runs" / "first", tmp_path / "first")
    for path in (tmp_path / "first" / "steps" / "quantize").glob("*.json"):
        path.unlink()
    convert = quantization.quantized

    def coarse(weights, bits=8):
        return {n: one * 5 if n.endswith(SCALE) else one for n, one in convert(weights, bits).items()}

    monkeypatch.setattr(quantization, "quantized", coarse)
    assert main(["step", "quantize", "--run", str(tmp_path / "first")]) == 8
    assert "it may be worse by at most 1.00%; nothing was written" in capsys.readouterr().err
    run = Run.open(str(tmp_path / "first"))
    assert run.done(run.pipeline.step("quantize")) is None
    assert json.loads((tmp_path / "first" / "failures" / "quantize.json").read_text())["reason"].startswith("/")


def test_without_a_key_nothing_is_signed(place, first, monkeypatch, tmp_path):
    assert first.outcome == REGISTERED
    shutil.copytree(place.root / "runs" / "first", tmp_path / "runs" / "unsigned")
    for path in (tmp_path / "runs" / "unsigned" / "steps" / "sign").glob("*.json"):
        path.unlink()
    monkeypatch.delenv(KEY)
    url = str(tmp_path / "runs" / "unsigned")
    assert main(["step", "sign", "--run", url]) == 2
    monkeypatch.setenv(KEY, str(place.public))
    assert main(["step", "sign", "--run", url]) == 2
    assert main(["step", "register", "--run", url]) == 4


def test_metrics_tell_of_all_runs(place, first, worse):
    assert first.outcome == REGISTERED
    registry = CollectorRegistry()
    registry.register(metrics.Runs(str(place.root / "runs")))
    said = generate_latest(registry).decode()
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in said.splitlines() if line[0] != "#"}
    assert values['pipeline_runs_total{outcome="registered",pipeline="retrain"}'] >= 2
    assert values['pipeline_runs_total{outcome="rejected",pipeline="retrain"}'] == 1
    trained = worse[0].steps["train"]
    assert values['pipeline_step_duration_seconds{pipeline="retrain",step="train"}'] == pytest.approx(trained.wall_s)
    assert values['pipeline_step_cost_usd{pipeline="retrain",step="train"}'] == pytest.approx(trained.cost_usd)
    last = values['pipeline_last_success_timestamp_seconds{pipeline="retrain"}']
    assert last >= first.ended
    assert {name.partition("{")[0] for name in values} == set(metrics.METRICS)


def test_data_that_is_not_fit_ends_the_run_at_its_first_step(place, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(place.corpus / "json", corpus / "json")
    events = []
    with pytest.raises(StepFailed, match="validate-data failed with exit code 3"):
        place.run("unfit", events.append, corpus=str(corpus))
    assert [event.what for event in events if event.task == "validate-data"] == ["started", "failed"]
    found = status(place.open("unfit"))
    assert found.outcome == FAILED
    assert "held out" in found.reasons[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"config": "tny"}, "config 'tny': expected one of tiny"),
        ({"training": {"training.stpes": "3"}}, "workloads.training does not take it"),
        ({"champion": "/nowhere"}, "model.safetensors is not there"),
        ({"slices": "colour"}, "'colour' is none; expected some of length, source, suffix"),
    ],
)
def test_what_a_step_would_find_in_an_hour_is_found_at_once(place, tmp_path, given, said):
    from tests.workloads.pipelines import small
    from workloads.pipelines.begin import begin

    with pytest.raises(ArgumentError, match=said):
        begin(str(tmp_path / "run"), small.parameters(place.corpus, tmp_path, **given))
    assert not (tmp_path / "run" / "pipeline.json").exists()
