"""One trace from the client through a real Triton to the model's step; and none where nobody asks for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collector import Collector, Spanned
from workloads.serving import tracing
from workloads.serving.errors import ArgumentError
from workloads.serving.export import export as export_language_model
from workloads.serving.scorer import export
from workloads.serving.serve import Server, newest
from workloads.serving.triton import Triton

# What asks is a program of its own: a process has its traces go to one place, once.
ASK = """
import json, sys
from workloads.serving.client import Client, RequestFailed
from workloads.telemetry import traces

end = traces.configure("asker")
url, model, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with Client([url]) as client, traces.begin("work"):
    if model == "talker":
        list(client.stream(model, {"text_input": texts[0]}, parameters={"max_tokens": 5, "stream": True}))
    else:
        try:
            client.infer(model, {"text_input": [texts]}, deadline_s=10)
        except RequestFailed:
            pass
end()
"""


def ask(collector: Collector, url: str, model: str, *texts: str, **variables: str) -> None:
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables}
    subprocess.run([sys.executable, "-c", ASK, url, model, json.dumps(texts)], env=environment, check=True, timeout=60)


def traced(collector: Collector, url: str, model: str, names: list[str]) -> list[Spanned]:
    """The spans of one trace, by their names.

    Of requests over gRPC Triton 2.51 drops the trace of one in ten (measured: 25 of 240), hence several.
    """
    for _ in range(6):
        collector.spans.clear()
        ask(collector, url, model, "import os\n")
        try:
            found = collector.wait(*names, timeout_s=10)
        except AssertionError:
            if not url.startswith("grpc:"):
                raise
            continue
        assert len({span.trace for span in found.values()}) == 1, url
        return [found[name] for name in names]
    raise AssertionError(f"six requests over gRPC, and no trace: {collector.spans}")


@pytest.fixture(scope="module")
def repository(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    where = str(tmp_path_factory.mktemp("traced") / "repository")
    export(trained, where, "scorer", runtime="eager")
    export_language_model(trained, where, "talker", slots=2)
    return where


def test_a_trace_goes_from_the_client_through_triton_to_the_models_step(repository: str, tmp_path: Path) -> None:
    with Collector() as collector:
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        # Of what comes without a trace, next to nothing is traced.
        environment |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.000001"}
        with Triton(tmp_path / "models", log=tmp_path / "log", environment=environment, exit_timeout_s=5) as triton:
            server = Server(triton, repository)
            for name in ("scorer", "talker"):
                server.take(newest(repository, name))
            for url in (f"http://{triton.http}", f"grpc://{triton.grpc}"):
                chain = traced(collector, url, "scorer", ["work", "infer scorer", "InferRequest", "scorer", "score"])
                found = {span.name: span for span in chain}
                assert [span.parent for span in chain] == ["", *(span.id for span in chain[:-1])], url
                services = ["asker", "asker", "triton", "triton", "model scorer"]
                assert [span.service for span in chain] == services
                assert found["infer scorer"].attributes["model.version"] == "1"
                assert found["infer scorer"].attributes["endpoint"] == url
                assert found["score"].attributes["batch.texts"] == "1"
                assert 0 < found["score"].seconds <= found["infer scorer"].seconds

            # A refusal is the client's to tell.
            collector.spans.clear()
            ask(collector, f"grpc://{triton.grpc}", "scorer", "")
            assert collector.wait("infer scorer")["infer scorer"].failed

            *_, model, step = traced(
                collector, f"http://{triton.http}", "talker", ["stream talker", "talker", "generate"]
            )
            assert step.parent == model.id
            assert step.attributes["output.tokens"] == "5"
            assert step.events == ("first tokens",)

            # What is not kept is not traced by anybody further on, and nor is what never had a trace.
            collector.spans.clear()
            ask(collector, f"http://{triton.http}", "scorer", "x", OTEL_TRACES_SAMPLER="always_off")
            ask(collector, f"http://{triton.http}", "scorer", "x", OTEL_SDK_DISABLED="true")
        # The server has ended, and with it has sent all that it had.
        assert collector.spans == []


@pytest.mark.parametrize(
    ("variables", "rate"),
    [
        ({}, 1),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, 100),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, tracing.NEVER),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, tracing.NEVER),
    ],
)
def test_triton_traces_as_many_as_the_environment_says(variables: dict[str, str], rate: int) -> None:
    options = tracing.arguments({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://agent:4318/", **variables})
    assert f"--trace-config=rate={rate}" in options
    assert "--trace-config=opentelemetry,url=http://agent:4318/v1/traces" in options
    assert tracing.arguments({**variables, "OTEL_SDK_DISABLED": "true"}) == []


def test_a_ratio_that_is_none_is_named() -> None:
    with pytest.raises(ArgumentError, match="OTEL_TRACES_SAMPLER_ARG='2': expected a number from 0 to 1"):
        tracing.arguments(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://agent:4318",
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "2",
            }
        )
