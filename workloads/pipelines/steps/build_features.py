"""Step `build-features`: a language model's features are tokens; and which slices each held-out document is in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.data.prepare import prepare
from workloads.data.tokenizer import Tokenizer
from workloads.pipelines import champions, corpora, slices
from workloads.pipelines.errors import DataRefused
from workloads.pipelines.run import Context


def run(context: Context) -> dict[str, Any]:
    parameters = context.parameters
    known = json.loads(context.inputs["inventory"].read_bytes())["documents"]
    corpus = corpora.find(parameters, context.work)
    _compare(known, {name: corpora.file_digest(corpus.root / name) for name in (*corpus.train, *corpus.validation)})
    with corpora.told():
        made = prepare(
            corpus, context.outputs["dataset"], vocabulary=parameters["vocabulary"], tokenizer=_tokenizer(parameters)
        )
    kinds = slices.kinds(parameters["slices"])
    sizes = {document["name"]: document["bytes"] for document in known}
    documents = [
        {"name": name, "bytes": sizes[name], "slices": slices.of(name, sizes[name], kinds)}
        for name in corpus.validation
    ]
    context.outputs["slices"].write_text(json.dumps({"kinds": kinds, "documents": documents}, indent=1))
    return {f"{part}_tokens": manifest.tokens for part, manifest in made.items()}


def _compare(known: list[dict[str, Any]], found: dict[str, str]) -> None:
    if {document["name"]: document["sha256"] for document in known} != found:
        raise DataRefused("the corpus is not what was validated: it has changed since; begin anew")


def _tokenizer(parameters: Mapping[str, Any]) -> Tokenizer | None:
    """The champion's, so that the new model can begin with its weights; none: one is made."""
    if not parameters["champion"]:
        return None
    with tempfile.TemporaryDirectory() as directory:
        return champions.read(champions.fetch(parameters["champion"], Path(directory), weights=False))[1]
