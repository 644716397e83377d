"""Step `validate-data`: whether the text is fit to train on and to judge by, with a report of each check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workloads.data.corpus import Corpus
from workloads.pipelines import corpora, slices
from workloads.pipelines.errors import DataRefused
from workloads.pipelines.run import Context

WORDS = 13
"""Consecutive words that two documents have by chance hardly ever (Brown et al. 2020, appendix C)."""
ONE_IN = 8
"""Of so many runs of words one is compared, the same ones in every document."""
MOSTLY = 0.5
"""Part of a held-out document that is in training documents, from which on the document counts as seen."""
LARGEST = 64 * 2**20
"""Bytes of a document; more is hardly one."""
CONTROL = 0.01
"""Part of a document's characters that may be control characters; binary data has more."""
MAIN = 0.05
"""Part of the training documents from which on a slice must be judged on its own."""
NAMED = 5


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what is accepted."""

    name: str
    passed: bool
    found: str
    accepted: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{'ok     ' if self.passed else 'REFUSED'} {self.name}: {self.found} (accepted: {self.accepted})"
        return line + (f", such as {', '.join(self.examples)}" if self.examples else "")


def run(context: Context) -> dict[str, Any]:
    parameters = context.parameters
    corpus = corpora.find(parameters, context.work)
    documents = inventory(corpus, slices.kinds(parameters["slices"]))
    checks = examine(corpus, documents, parameters)
    for check in checks:
        context.say(str(check))
    if bad := [check for check in checks if not check.passed]:
        raise DataRefused(f"{corpus.root}: " + "; ".join(f"{check.name}: {check.found}" for check in bad))
    context.outputs["inventory"].write_text(json.dumps({"corpus": corpus.name, "documents": documents}, indent=1))
    report = {"passed": True, "checks": [asdict(check) for check in checks], "slices": coverage(documents)}
    context.outputs["data-report"].write_text(json.dumps(report, indent=1))
    return {"documents": len(documents), "held_out": len(corpus.validation)}


def inventory(corpus: Corpus, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Each document with its digest, its size, its side and its slices."""
    found = []
    for part, names in (("train", corpus.train), ("validation", corpus.validation)):
        for name in names:
            data = (corpus.root / name).read_bytes()
            found.append(
                {
                    "name": name,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "bytes": len(data),
                    "part": part,
                    "slices": slices.of(name, len(data), kinds),
                }
            )
    return found


def coverage(documents: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Documents of each slice, of both parts."""
    listed = list(documents)
    return {
        part: dict(slices.counts(one["slices"] for one in listed if one["part"] == part))
        for part in ("train", "validation")
    }


def examine(corpus: Corpus, documents: Sequence[dict[str, Any]], limits: Mapping[str, Any]) -> list[Check]:
    """All checks, whether or not one fails: a person mends the data once."""
    files = len(documents) + corpus.repeated + corpus.not_text
    held_out = [one for one in documents if one["part"] == "validation"]
    return [
        _fingerprint(corpus, limits["corpus_fingerprint"], str(limits["corpus"])),
        _schema(documents),
        _share("encoding", corpus.not_text, files, limits["not_text_limit"], "empty or not UTF-8"),
        _control_characters(corpus),
        _share("duplicates", corpus.repeated, files, limits["duplicate_limit"], "repeat another"),
        Check(
            "size",
            len(held_out) >= limits["minimum_documents"],
            f"{len(documents):,} documents, {len(held_out):,} of them held out",
            f"at least {limits['minimum_documents']:,} held out",
        ),
        _contamination(corpus, limits["contamination_limit"]),
        _coverage(documents, limits["slice_documents"]),
    ]


def _fingerprint(corpus: Corpus, expected: str, place: str) -> Check:
    """A corpus in an object store has none of contents: there it is of what the store says."""
    names = (*corpus.train, *corpus.validation)
    lines = sorted(f"{name} {corpora.file_digest(corpus.root / name)}" for name in names)
    found = expected if "://" in place else hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Check("fingerprint", found == expected, found[:16], f"{expected[:16]}, as when the run began")


def _schema(documents: Sequence[dict[str, Any]]) -> Check:
    odd = [one["name"] for one in documents if one["bytes"] > LARGEST or not one["name"].isprintable()]
    accepted = f"printable names, at most {LARGEST // 2**20} MiB"
    return Check("schema", not odd, f"{len(odd)} documents with odd names or sizes", accepted, tuple(odd[:NAMED]))


def _share(name: str, count: int, of: int, limit: float, what: str) -> Check:
    part = count / max(of, 1)
    return Check(name, part <= limit, f"{count:,} of {of:,} files ({part:.1%}) {what}", f"at most {limit:.1%}")


def _control_characters(corpus: Corpus) -> Check:
    odd = []
    for name in (*corpus.train, *corpus.validation):
        data = (corpus.root / name).read_bytes()
        if len(data) - len(data.translate(None, bytes(set(range(32)) - set(b"\t\n\r\f")))) > CONTROL * len(data):
            odd.append(name)
    return Check(
        "control characters", not odd, f"{len(odd)} documents full of them", f"at most {CONTROL:.0%} of a document",
        tuple(odd[:NAMED]),
    )  # fmt: skip


def _contamination(corpus: Corpus, limit: float) -> Check:
    """Held-out documents that are in training documents for the most part, though not to the byte."""
    wanted = {name: runs_of_words(corpus.text(name)) for name in corpus.validation}
    all_wanted = set().union(*wanted.values()) if wanted else set()
    seen: set[int] = set()
    for name in corpus.train:
        seen |= runs_of_words(corpus.text(name)) & all_wanted
    bad = [name for name, runs in wanted.items() if runs and len(runs & seen) > MOSTLY * len(runs)]
    return Check(
        "contamination",
        len(bad) <= limit * len(wanted),
        f"{len(bad)} of {len(wanted)} held-out documents are mostly in training documents",
        f"at most {limit:.1%}",
        tuple(bad[:NAMED]),
    )


def runs_of_words(text: str) -> set[int]:
    """Some of the runs of WORDS words of a text, as numbers; which ones depends on nothing but the words."""
    words = text.split()
    found = set()
    for first in range(len(words) - WORDS + 1):
        run = " ".join(words[first : first + WORDS]).encode()
        number = int.from_bytes(hashlib.blake2b(run, digest_size=8).digest(), "big")
        if number % ONE_IN == 0:
            found.add(number)
    return found


def _coverage(documents: Sequence[dict[str, Any]], least: int) -> Check:
    """What is learnt from must be judged: a slice of the training text that is hardly held out would not be."""
    found = coverage(documents)
    total, most = max(sum(one["part"] == "train" for one in documents), 1), {}
    for name, count in found["train"].items():
        if count >= MAIN * total and found["validation"].get(name, 0) < least:
            most[name] = found["validation"].get(name, 0)
    return Check(
        "slices",
        not most,
        f"{len(most)} slices with {MAIN:.0%} or more of the training documents are hardly held out",
        f"at least {least} held-out documents of each",
        tuple(f"{name} ({count})" for name, count in list(most.items())[:NAMED]),
    )
