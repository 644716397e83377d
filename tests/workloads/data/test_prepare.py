"""A corpus becomes the same dataset each time, of which no validation text was learnt from."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.data.datasets import damage, write
from workloads.data import open_dataset
from workloads.data.cli import main
from workloads.data.corpus import directory, standard_library
from workloads.data.errors import ArgumentError, DiskFailed, NotADataset
from workloads.data.manifest import Manifest
from workloads.data.prepare import prepare
from workloads.data.tokenizer import BytePairTokenizer, ByteTokenizer, load_tokenizer, train_byte_pairs

TEXTS = {f"part/{n:02d}.txt": f"Text {n}: " + "the quick brown fox, naïve 日本語 \n" * (n + 1) for n in range(40)}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    root = tmp_path / "text"
    for name, content in TEXTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def documents(path: Path) -> list[str]:
    """The texts of a dataset, from its tokens."""
    with open_dataset(path) as dataset:
        parts = [dataset.acquire(index) for index in range(len(dataset.manifest.shards))]
        tokens = np.concatenate(parts)
        ends = np.flatnonzero(tokens == dataset.tokenizer.end_of_text)
        assert ends[-1] == len(tokens) - 1
        starts = [0, *(ends[:-1] + 1)]
        return [dataset.tokenizer.decode(tokens[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("vocabulary", [0, 280])
def test_every_text_is_on_one_side_whole_and_in_order(text: Path, tmp_path: Path, vocabulary: int) -> None:
    corpus = directory(text, 0.2)
    made = prepare(corpus, tmp_path / "out", vocabulary=vocabulary, shard_tokens=1000)
    assert len(made["train"].shards) > 3
    assert {shard.tokens for shard in made["train"].shards[:-1]} == {1000}
    train, validation = documents(tmp_path / "out/train"), documents(tmp_path / "out/validation")
    assert train == [TEXTS[name] for name in corpus.train]
    assert validation == [TEXTS[name] for name in corpus.validation]
    assert sorted([*corpus.train, *corpus.validation]) == sorted(TEXTS)
    assert 1 <= len(validation) <= 16
    assert made["train"].tokenizer == made["validation"].tokenizer
    if vocabulary:
        assert made["train"].tokenizer.vocabulary == 280
        assert made["train"].tokens < sum(len(t.encode()) for t in train) / 2


def test_the_same_text_gives_the_same_fingerprints_and_other_text_others(text: Path, tmp_path: Path) -> None:
    first = prepare(directory(text, 0.2), tmp_path / "1", vocabulary=300)
    shutil.copytree(text, tmp_path / "elsewhere", dirs_exist_ok=True)
    second = prepare(directory(tmp_path / "elsewhere", 0.2), tmp_path / "2", vocabulary=300)
    assert {part: m.fingerprint for part, m in first.items()} == {part: m.fingerprint for part, m in second.items()}
    bytes_of_it = prepare(directory(text, 0.2), tmp_path / "3")
    assert bytes_of_it["train"].fingerprint != first["train"].fingerprint
    (text / "part/00.txt").write_text("other")
    assert prepare(directory(text, 0.2), tmp_path / "4")["train"].fingerprint != bytes_of_it["train"].fingerprint


def test_a_text_stays_on_its_side_when_others_come_and_copies_are_left_out(text: Path) -> None:
    before = directory(text, 0.2)
    (text / "more").mkdir()
    for name in [*before.train, *before.validation]:
        shutil.copy(text / name, text / "more" / f"copy-{Path(name).name}")
    (text / "new.txt").write_text("new")
    (text / "binary.txt").write_bytes(b"a\0b")
    (text / "latin.txt").write_bytes("é".encode("latin-1"))
    (text / "empty.txt").write_bytes(b"")
    (text / ".hidden").mkdir()
    (text / ".hidden" / "x.txt").write_text("hidden")
    after = directory(text, 0.2)
    sides = {(text / n).read_text(): side for side in ("train", "validation") for n in getattr(before, side)}
    for side in ("train", "validation"):
        for name in getattr(after, side):
            assert name == "new.txt" or sides[(text / name).read_text()] == side
    assert (after.repeated, after.not_text) == (len(TEXTS), 3)


def test_two_files_are_enough_and_one_is_held_out(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
        if name == "a":
            with pytest.raises(ArgumentError, match="1 different text files"):
                directory(tmp_path, 0.5)
    for part in (0.0001, 0.9999):
        corpus = directory(tmp_path, part)
        assert sorted([*corpus.train, *corpus.validation]) == ["a.txt", "b.txt"]
        assert len(corpus.train) == 1
    for part in (0.0, 1.0, -1.0):
        with pytest.raises(ArgumentError, match="held-out part"):
            directory(tmp_path, part)
    with pytest.raises(ArgumentError, match="expected stdlib or a directory"):
        directory(tmp_path / "a.txt", 0.5)


def test_the_standard_library_is_a_corpus() -> None:
    corpus = standard_library(0.05)
    assert "argparse.py" in [*corpus.train, *corpus.validation]
    assert not any("site-packages" in name for name in [*corpus.train, *corpus.validation])
    assert 0.02 < len(corpus.validation) / len(corpus.train) < 0.10


# ---- tokenizers


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_encoded_is_decoded(text: str) -> None:
    for tokenizer in (ByteTokenizer(), PAIRS):
        tokens = tokenizer.encode(text)
        assert tokenizer.decode(tokens.tolist()) == text
        assert len(tokens) == 0 or tokens.max() < tokenizer.end_of_text == tokenizer.vocabulary - 1


PAIRS = BytePairTokenizer(train_byte_pairs(TEXTS.values(), 300))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("abc ", min_size=1, max_size=12), min_size=1, max_size=6), st.integers(258, 275))
def test_merges_are_those_of_counting_anew_each_time(texts: list[str], vocabulary: int) -> None:
    assert train_byte_pairs(texts, vocabulary) == _slowly(texts, vocabulary)


def _slowly(texts: list[str], vocabulary: int) -> list[bytes]:
    import regex

    from workloads.data.tokenizer import PATTERN

    words = [list(word.encode()) for text in texts for word in regex.findall(PATTERN, text)]
    ranks = [bytes([byte]) for byte in range(256)]
    while len(ranks) < vocabulary - 1:
        counts: dict[tuple[int, int], int] = {}
        for word in words:
            for pair in itertools.pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = [len(ranks)]
                at += 1
        ranks.append(ranks[best[0]] + ranks[best[1]])
    return ranks


def test_a_tokenizer_that_was_changed_is_refused(text: Path, tmp_path: Path) -> None:
    prepare(directory(text, 0.2), tmp_path / "out", vocabulary=300)
    damage(tmp_path / "out/train/tokenizer.json", "flip")
    with open_dataset(tmp_path / "out/train") as dataset, pytest.raises(NotADataset, match=r"tokenizer\.json: its sha"):
        _ = dataset.tokenizer
    described = PAIRS.file()[0]
    with pytest.raises(NotADataset, match="'words': expected bytes or bpe"):
        load_tokenizer(type(described)("words", 3, 2), lambda _: b"")
    with pytest.raises(ValueError, match="vocabulary 257"):
        train_byte_pairs(["a"], 257)


# ---- the manifest


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: "[]", "expected format 'aicloud-tokens/1'"),
        (lambda _: "{", "not a manifest"),
        (lambda m: json.dumps({**m, "format": "aicloud-tokens/2"}), "found 'aicloud-tokens/2'"),
        (lambda m: json.dumps({**m, "dtype": "int8"}), "dtype 'int8': expected one of uint16, uint32"),
        (lambda m: json.dumps({**m, "shards": []}), "no shards"),
        (lambda m: json.dumps({**m, "shards": m["shards"][::-1]}), "it was changed after it was written"),
        (lambda m: json.dumps({**m, "tokenizer": {**m["tokenizer"], "end_of_text": 3}}), "it was changed"),
        (lambda m: json.dumps({k: v for k, v in m.items() if k != "fingerprint"}), "'fingerprint' is missing"),
        (lambda m: json.dumps({**m, "shards": [{**m["shards"][0], "path": "../x"}]}), "path '../x'"),
        (lambda m: json.dumps({**m, "shards": [{**m["shards"][0], "path": "/x"}]}), "path '/x'"),
        (lambda m: json.dumps({**m, "shards": [{**m["shards"][0], "tokens": 0}]}), "0 tokens"),
        (lambda m: json.dumps({**m, "tokenizer": {**m["tokenizer"], "vocabulary": 2**33}}), "does not fit into"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    manifest = write(tmp_path, [3, 4])
    text = manifest.to_json()
    assert Manifest.from_json(text, "here") == manifest
    with pytest.raises(NotADataset, match=f"^here: .*{says}"):
        Manifest.from_json(change(json.loads(text)), "here")


# ---- the command


def test_the_command_prepares_verifies_and_refuses(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["prepare", "--corpus", str(text), "--output", str(out), "--held-out", "0.2"]
    assert main([*arguments, "--tokenizer", "bpe", "--vocabulary", "280"]) == 0
    said = capsys.readouterr().out
    assert "tokens of 280" in said
    assert main(arguments) == 2
    assert "already holds a dataset" in capsys.readouterr().err
    assert main([*arguments[:3], *arguments[3:4], str(tmp_path / "x"), "--tokenizer", "bpe", "--vocabulary", "3"]) == 2
    assert main(["prepare", "--corpus", str(tmp_path / "no"), "--output", str(tmp_path / "x")]) == 2

    assert main(["verify", str(out / "train")]) == 0
    damage(out / "train" / "shard-000000.bin", "flip")
    assert main(["verify", str(out / "train")]) == 4
    assert "shard-000000.bin: expected sha256" in capsys.readouterr().err
    assert main(["verify", str(out)]) == 3
    assert "there is one in train and in validation" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_says_so(text: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskFailed, match="file"):
        prepare(directory(text, 0.2), tmp_path / "file" / "out")
