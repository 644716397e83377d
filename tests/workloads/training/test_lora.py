"""Adapters learn, their base does not change by a bit, and merged they are the model that was trained."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.workloads.training.checkpointing import forked
from tests.workloads.training.small import OPTIONS, command, finish, interrupted, learnt, make_data, metrics
from workloads.data import corpus
from workloads.data.prepare import prepare
from workloads.training import checkpoint, cli, run
from workloads.training.checkpoints import exporting, layout
from workloads.training.checkpoints.remote import Remote
from workloads.training.config import tiny
from workloads.training.errors import CheckpointError, ConfigError
from workloads.training.model import Transformer
from workloads.training.parallel import Replica
from workloads.training.train import Trainer

LORA = {"rank": 8, "alpha": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another text: Python's manual, in English, where the base has learnt from programs."""
    directory = tmp_path_factory.mktemp("other")
    (directory / "text").mkdir()
    for name, text in topics.items():
        (directory / "text" / f"{name}.rst").write_text(text, encoding="utf-8")
    prepare(corpus.directory(directory / "text", 0.2), directory / "tokens", shard_tokens=100_000)
    return directory / "tokens"


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """A saver that is forked, and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Checkpointer", functools.partial(checkpoint.Checkpointer, new_saver=forked))
        yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    """A run's output, with `base.safetensors` in it."""
    output = tmp_path_factory.mktemp("base") / "run"
    assert cli.main(command(data, output, training={"steps": 48, "evaluate_every": 0})) == 0
    checkpoint.export(output / "checkpoints", output / "base.safetensors")
    return output


@pytest.fixture
def replicas(monkeypatch):
    """What runs in this process train."""
    found: list[Replica] = []
    spread = run.spread

    def kept(*arguments):
        found.append(spread(*arguments))
        return found[-1]

    monkeypatch.setattr(run, "spread", kept)
    return found


def tune(tokens: Path, output: Path, base: Path | str, **options) -> int:
    options = {**options, "lora": {**LORA, "base": base, **options.get("lora", {})}}
    return cli.main(command(tokens, output, **options))


def newest(output: Path) -> Path:
    return layout.steps(output / "checkpoints")[0]


def logits(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(tokens)


def test_adapters_learn_another_text_and_the_base_stays(base, other, tmp_path, replicas, capsys):
    file, output = base / "base.safetensors", tmp_path / "tuned"
    before = file.read_bytes()
    assert tune(other, output, file, training={"steps": 60}, optimizer={"learning_rate": 1e-2}) == 0
    assert "107 k parameters, 16.4 k of them in adapters" in capsys.readouterr().out
    assert tune(other, tmp_path / "as it was", file, training={"steps": 1}, optimizer={"learning_rate": 0.0}) == 0
    found = [metrics(place)[-1]["held_out_loss"] for place in (tmp_path / "as it was", output)]
    print(f"held-out loss on another text {found[0]:.3f} -> {found[1]:.3f}")
    assert found[1] < 0.9 * found[0]

    # To the bit, in memory and in the file.
    assert file.read_bytes() == before
    frozen = {n: p for n, p in replicas[0].plain.named_parameters() if not p.requires_grad}
    known = load_file(file)
    assert frozen.keys() == known.keys()
    assert all(p.detach().numpy().tobytes() == known[n].numpy().tobytes() for n, p in frozen.items())
    assert all(p.grad is None for p in frozen.values())

    # A checkpoint holds the adapters and their optimizer.
    sizes = [layout.read_marker(newest(place)).total for place in (output, base)]
    weights = [sum(t.nbytes for t in exporting.planning.read_tensors(newest(p), "").values()) for p in (output, base)]
    print(
        f"checkpoint of adapters / of all: {sizes[0] / sizes[1]:.3f} of the files, {weights[0] / weights[1]:.3f} bytes"
    )
    trained = sum(p.numel() for p in replicas[0].plain.parameters() if p.requires_grad)
    assert weights[0] == 3 * 4 * trained
    assert sizes[0] < 0.4 * sizes[1]

    # Merged it is the same function; alone the adapters are what was trained.
    assert checkpoint.export(output / "checkpoints", tmp_path / "merged.safetensors") == len(known)
    merged = Transformer(replicas[0].plain.config, OPTIONS["data.sequence_length"])
    merged.load_state_dict(load_file(tmp_path / "merged.safetensors"))
    tokens = torch.randint(0, 257, (4, 64), generator=torch.Generator().manual_seed(3))
    adapted = logits(replicas[0].plain, tokens)
    assert torch.allclose(logits(merged, tokens), adapted, atol=1e-5, rtol=0)
    merged.load_state_dict(known)
    assert not torch.allclose(logits(merged, tokens), adapted, atol=1e-2, rtol=0)
    checkpoint.export(output / "checkpoints", tmp_path / "adapters.safetensors", adapters=True)
    alone = load_file(tmp_path / "adapters.safetensors")
    assert alone.keys() == {n for n, p in replicas[0].plain.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in alone)


def test_at_first_the_model_is_its_base(base, other, tmp_path, replicas):
    assert tune(other, tmp_path / "tuned", base, training={"steps": 1}, optimizer={"learning_rate": 0.0}) == 0
    plain = Transformer(replicas[0].plain.config, OPTIONS["data.sequence_length"])
    plain.load_state_dict(load_file(base / "base.safetensors"))
    tokens = torch.arange(64)[None]
    assert logits(replicas[0].plain, tokens).equal(logits(plain, tokens))


class Cut(Exception):
    """As a power cut."""


def test_a_run_that_is_cut_goes_on_with_the_same_bits(base, data, other, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(base, source)
    assert tune(other, tmp_path / "whole", base, model={"dropout": 0.1}) == 0
    seed = Trainer._seed

    def cut(trainer, step):
        seed(trainer, step)
        if step == 13:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_seed", cut)
        with pytest.raises(Cut):
            tune(other, tmp_path / "cut", source, model={"dropout": 0.1})
    assert layout.read_marker(newest(tmp_path / "cut")).step == 8
    # The run that the base is of has gone on meanwhile.
    more = command(data, source, training={"steps": 50, "evaluate_every": 0}, checkpoint={"every": 50})
    assert cli.main(more) == 0
    assert tune(other, tmp_path / "cut", source, model={"dropout": 0.1}) == 0
    assert learnt(tmp_path / "cut") == learnt(tmp_path / "whole")
    both = [exporting.planning.read_tensors(newest(tmp_path / name), "") for name in ("whole", "cut")]
    assert both[0].keys() == both[1].keys()
    assert all(both[0][name].equal(both[1][name]) for name in both[0])


@pytest.fixture(scope="module")
def tuned(base, other, tmp_path_factory):
    output = tmp_path_factory.mktemp("tuned") / "run"
    assert tune(other, output, base, training={"steps": 2}) == 0
    return output


@pytest.fixture
def fresh(tuned, tmp_path):
    """A copy of `tuned`, to spoil."""
    shutil.copytree(tuned, tmp_path / "tuned")
    return tmp_path / "tuned"


def altered(base: Path, path: Path, **change) -> Path:
    weights = load_file(base / "base.safetensors")
    save_file({**weights, **change}, path)
    return path


def test_it_goes_on_only_on_its_own_base(base, other, fresh, tmp_path, capsys):
    once = {"training": {"steps": 4}}
    spoilt = altered(base, tmp_path / "spoilt.safetensors", **{"norm.weight": torch.full((64,), 1.5)})
    assert tune(other, fresh, spoilt, **once) == 4
    assert "spoilt.safetensors has other weights (sha256 " in (said := capsys.readouterr().err)
    assert str(newest(base)) in said
    assert tune(other, fresh, base, lora={"alpha": 8}, **once) == 2
    assert "lora.alpha: 8: the run began with 16" in capsys.readouterr().err
    assert cli.main(command(other, fresh, **once)) == 4
    assert "is a checkpoint of adapters: continue with lora.rank and lora.base" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="other weights"):
        checkpoint.export(fresh / "checkpoints", tmp_path / "out", base=str(spoilt))
    # The same weights in another place are the same base.
    moved = tmp_path / "moved.safetensors"
    shutil.copy(base / "base.safetensors", moved)
    assert tune(other, fresh, moved, **once) == 0
    assert [line["step"] for line in metrics(fresh)] == [1, 2, 3, 4]


def test_a_run_of_all_weights_is_not_continued_with_adapters(base, data, tmp_path, capsys):
    shutil.copytree(base, tmp_path / "run")
    assert tune(data, tmp_path / "run", base, training={"steps": 60}) == 4
    assert "is a checkpoint of all weights: continue without lora.rank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"model": {"width": 32}}, 2, r"embedding.weight is [257, 64] there, [257, 32] here"),
        ({"model": {"layers": 3}}, 2, "it has no blocks.2.attention_norm.weight"),
        ({"model": {"tied": "false"}}, 2, "it has no output.weight"),
        ({"model": {"vocabulary": 300}}, 2, "(it knows 257 tokens, not 300)"),
        ({"lora": {"targets": "query,gates"}}, 2, "lora.targets: 'query,gates': expected some of query,key"),
        ({"lora": {"rank": 0}}, 2, "lora.rank: 0: expected 1 or more beside lora.base"),
        ({"lora": {"base": ""}}, 2, "lora.base: '': adapters of rank 8 need one"),
        ({"lora": {"base": "/nowhere"}}, 4, "/nowhere: no such file or directory"),
        ({"lora": {"base": __file__}}, 4, "not a safetensors file"),
        ({"lora": {"base": "ftp://x/y"}}, 2, "expected file:///path"),
    ],
)
def test_a_base_that_does_not_fit_is_told(base, other, tmp_path, capsys, options, code, said):
    assert tune(other, tmp_path / "run", base, training={"steps": 2}, **options) == code
    assert said in capsys.readouterr().err
    assert not metrics(tmp_path / "run")


def test_a_base_of_another_tokenizer_is_refused(base, other, tmp_path, capsys):
    # As many tokens that mean something else.
    save_file(load_file(base / "base.safetensors"), tmp_path / "x.safetensors", {"tokenizer": "bpe 257 abc"})
    assert tune(other, tmp_path / "run", tmp_path / "x.safetensors") == 2
    assert "was trained on tokens of another tokenizer (bpe 257 abc) than the data's (bytes 257)" in (
        capsys.readouterr().err
    )


def test_adapters_are_no_base(tuned, other, tmp_path, capsys):
    assert tune(other, tmp_path / "run", tuned) == 4
    assert "holds adapters only: expected a whole model" in capsys.readouterr().err


def test_adapters_are_not_shared_over_tensor_parallel_processes():
    with pytest.raises(ConfigError, match=r"parallel\.tensor: 2: adapters are not shared: expected 1 with lora\.rank"):
        tiny().override({"parallel.tensor": 2, "model.tied": False, "lora.rank": 4, "lora.base": "x"})


@pytest.mark.slow
def test_a_base_in_an_object_store(base, other, tmp_path, monkeypatch, capsys):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for key, value in {
            "AWS_ENDPOINT": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="models")
        client.upload_file(str(base / "base.safetensors"), "models", "a/base.safetensors")
        run_of_base = Remote("s3://models/run")
        marker = layout.read_marker(newest(base))
        run_of_base.upload(marker, newest(base), marker.files)
        run_of_base.commit(marker)

        for name, url in (("file", "s3://models/a/base.safetensors"), ("run", "s3://models/run")):
            assert tune(other, tmp_path / name, url, training={"steps": 4}) == 0
        known = [layout.read_marker(newest(tmp_path / name)).extra["lora"] for name in ("file", "run")]
        assert known[0]["sha256"] == known[1]["sha256"]
        assert known[1]["location"] == "s3://models/run/step-00000048"
        assert learnt(tmp_path / "file") == learnt(tmp_path / "run")

        # On another machine, where nothing has been fetched yet.
        shutil.rmtree(tmp_path / "run" / "base")
        assert tune(other, tmp_path / "run", "s3://models/run", training={"steps": 5}) == 0
        assert "continues after step 4" in capsys.readouterr().out
        for name in ("file", "run"):
            checkpoint.export(newest(tmp_path / name).parent / "step-00000004", tmp_path / f"{name}.safetensors")
        one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("file", "run"))
        assert all(one[name].equal(two[name]) for name in one)

        assert tune(other, tmp_path / "none", "s3://models/b/none.safetensors") == 4
        assert "s3://models/b/none.safetensors: cannot be read" in capsys.readouterr().err
        assert tune(other, tmp_path / "none", "s3://models/b") == 4
        assert "s3://models/b: there is no checkpoint" in capsys.readouterr().err
    finally:
        server.stop()


# ---- real processes


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_give_the_curve_of_one_also_after_a_kill(base, other, tmp_path, strategy):
    def arguments(name: str) -> list[str]:
        lora = {**LORA, "base": base / "base.safetensors"}
        return command(other, tmp_path / name, lora=lora, parallel={"strategy": strategy})

    code, _, err = finish(arguments("one"))
    assert code == 0, err
    code, _, err = interrupted(arguments("two"), tmp_path / "two", 13, processes=2)
    assert code, err
    code, out, err = finish(arguments("two"), 2)
    assert code == 0, err
    assert "continues after step" in out
    losses = [[line["loss"] for line in metrics(tmp_path / name)] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    for name in ("one", "two"):
        checkpoint.export(tmp_path / name / "checkpoints", tmp_path / f"{name}.safetensors")
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
