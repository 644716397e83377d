"""What the pipeline is made of: steps with inputs and outputs, what each needs, and the gate between them.

Every runner reads this and nothing else, and starts the same commands in the same order. It needs no package beside
Python's own: Airflow's scheduler, which has an environment of its own, imports it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workloads.pipelines.errors import ArgumentError

MODULE = ("python", "-m", "workloads.pipelines")
BEGIN, GATE = "begin", "gate"


@dataclass(frozen=True)
class Resources:
    """What a task has to itself."""

    cpu: float
    memory_gib: float
    accelerator: str = ""
    """A key of the catalog of accelerators, such as `l4`; empty: none."""
    accelerators: int = 0

    def __post_init__(self) -> None:
        if not self.cpu > 0 or not self.memory_gib > 0 or self.accelerators < 0:
            raise ArgumentError(f"resources {self}: expected cpu and memory above 0 and accelerators from 0")
        if bool(self.accelerator) != bool(self.accelerators):
            raise ArgumentError(f"resources {self}: expected an accelerator's name and a count, or neither")


@dataclass(frozen=True)
class Step:
    """A function of artifacts and parameters to artifacts: `run` of `workloads.pipelines.steps.<name>`."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    """Those that it reads: others do not make it run again."""
    code: tuple[str, ...]
    """Packages and modules below `workloads` that it is made of, besides its own module."""
    resources: Resources
    timeout_s: float
    retries: int = 1
    volatile: tuple[str, ...] = ()
    """Outputs that differ from run to run, for they tell of time; no other step reads them."""
    continues: bool = False
    """Whether a step that was killed finds again what it had left in its working directory."""

    @property
    def module(self) -> str:
        return f"workloads.pipelines.steps.{self.name.replace('-', '_')}"


@dataclass(frozen=True)
class Gate:
    """What follows step `after` runs only if its artifact `verdict` says so."""

    after: str
    verdict: str


@dataclass(frozen=True)
class Task:
    """A command, and when it may run: what a runner needs to know."""

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...]
    resources: Resources
    retries: int
    timeout_s: float
    gated: bool = False
    """Whether it runs only if the gate lets the candidate pass."""


@dataclass(frozen=True)
class Pipeline:
    """Steps in an order in which each finds its inputs. Raises ArgumentError where one does not."""

    name: str
    steps: tuple[Step, ...]
    gate: Gate

    def __post_init__(self) -> None:
        made: set[str] = set()
        volatile = {output for step in self.steps for output in step.volatile}
        for step in self.steps:
            if missing := [name for name in step.inputs if name not in made]:
                raise ArgumentError(f"step {step.name}: no step before it makes its input {missing[0]!r}")
            if read := [name for name in step.inputs if name in volatile]:
                raise ArgumentError(f"step {step.name}: its input {read[0]!r} differs from run to run")
            if twice := [name for name in step.outputs if name in made]:
                raise ArgumentError(f"step {step.name}: a step before it makes {twice[0]!r} too")
            if not step.outputs or not set(step.volatile) <= set(step.outputs):
                raise ArgumentError(f"step {step.name}: outputs {step.outputs}, volatile {step.volatile}")
            made |= set(step.outputs)
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names) or {BEGIN, GATE} & set(names):
            raise ArgumentError(f"steps {', '.join(names)}: expected distinct names, other than {BEGIN} and {GATE}")
        if self.gate.after not in names or self.gate.verdict not in self.step(self.gate.after).outputs:
            raise ArgumentError(f"gate: no step {self.gate.after} with the output {self.gate.verdict}")

    def step(self, name: str) -> Step:
        for step in self.steps:
            if step.name == name:
                return step
        raise ArgumentError(f"step {name!r}: expected one of {', '.join(step.name for step in self.steps)}")

    def maker(self, artifact: str) -> Step:
        """The step that an artifact is an output of."""
        return next(step for step in self.steps if artifact in step.outputs)

    def before(self, step: Step) -> tuple[str, ...]:
        """The steps whose outputs it reads, in order."""
        makers = {self.maker(name).name for name in step.inputs}
        return tuple(step.name for step in self.steps if step.name in makers)

    @property
    def gated(self) -> tuple[Step, ...]:
        """The steps behind the gate."""
        names = [step.name for step in self.steps]
        return self.steps[names.index(self.gate.after) + 1 :]

    def tasks(self, run: str, arguments: Iterable[str] = (), program: Sequence[str] = MODULE) -> tuple[Task, ...]:
        """The commands of a run at `run`, in order. `arguments`: what `begin` is told, `program`: what they start."""
        small = Resources(cpu=1, memory_gib=2)
        tasks = [Task(BEGIN, (*program, BEGIN, "--run", run, *arguments), (), small, 2, 900)]
        gated = self.gated
        for step in self.steps:
            if step in gated and GATE not in [task.name for task in tasks]:
                tasks.append(Task(GATE, (*program, GATE, "--run", run), (self.gate.after,), small, 2, 300))
            after = self.before(step) or (BEGIN,)
            tasks.append(
                Task(
                    step.name,
                    (*program, "step", step.name, "--run", run),
                    (*after, GATE) if step in gated else after,
                    step.resources,
                    step.retries,
                    step.timeout_s,
                    step in gated,
                )
            )
        return tuple(tasks)


_MODEL_CODE = ("training", "serving/engine", "serving/models", "serving/variants.py", "serving/export.py")
HOUR = 3600.0

RETRAIN = Pipeline(
    "retrain",
    (
        Step(
            "validate-data",
            inputs=(),
            outputs=("inventory", "data-report"),
            parameters=(
                "corpus", "suffixes", "held_out", "slices", "minimum_documents", "slice_documents", "duplicate_limit",
                "not_text_limit", "contamination_limit", "corpus_fingerprint",
            ),
            code=("data", "pipelines/corpora.py", "pipelines/slices.py"),
            resources=Resources(cpu=2, memory_gib=8),
            timeout_s=2 * HOUR,
        ),
        Step(
            "build-features",
            inputs=("inventory",),
            outputs=("dataset", "slices"),
            parameters=("corpus", "suffixes", "held_out", "slices", "vocabulary", "champion", "champion_digest"),
            code=("data", "pipelines/corpora.py", "pipelines/slices.py"),
            resources=Resources(cpu=4, memory_gib=16),
            timeout_s=6 * HOUR,
            retries=2,
        ),
        Step(
            "train",
            inputs=("dataset",),
            outputs=("model", "curve", "training-log"),
            volatile=("training-log",),
            parameters=("config", "training", "champion", "champion_digest"),
            code=("data", *_MODEL_CODE),
            resources=Resources(cpu=8, memory_gib=64, accelerator="l4", accelerators=1),
            timeout_s=48 * HOUR,
            # Nodes may be taken away; what was trained by then is found again.
            retries=8,
            continues=True,
        ),
        Step(
            "evaluate",
            inputs=("model", "dataset", "slices"),
            outputs=("evaluation", "verdict"),
            parameters=(
                "champion", "champion_digest", "margin", "alpha", "evaluation_documents",
                "evaluation_tokens", "slice_documents",
            ),
            code=("data", *_MODEL_CODE, "pipelines/comparison.py", "pipelines/scoring.py"),
            resources=Resources(cpu=4, memory_gib=32, accelerator="l4", accelerators=1),
            timeout_s=4 * HOUR,
            retries=2,
        ),
        Step(
            "quantize",
            inputs=("model", "dataset"),
            outputs=("quantized", "quantization"),
            parameters=("precision", "quantization_limit"),
            code=("data", *_MODEL_CODE, "serving/quantization.py"),
            resources=Resources(cpu=4, memory_gib=32),
            timeout_s=2 * HOUR,
        ),
        Step(
            "export",
            inputs=("model", "quantized", "quantization", "dataset", "curve", "evaluation"),
            outputs=("version",),
            parameters=("config", "model", "version", "runtime", "champion_digest", "corpus_fingerprint"),
            code=("data", "serving", "training/model.py", "training/config.py"),
            resources=Resources(cpu=4, memory_gib=32),
            timeout_s=HOUR,
        ),
        Step(
            "sign",
            inputs=("version",),
            outputs=("signatures",),
            parameters=(),
            code=("serving/signing.py", "serving/manifest.py"),
            resources=Resources(cpu=1, memory_gib=2),
            timeout_s=600,
        ),
        Step(
            "register",
            inputs=(
                "version", "signatures", "model", "evaluation", "verdict", "quantization", "curve", "data-report",
                "slices",
            ),
            outputs=("registration",),
            volatile=("registration",),
            parameters=("repository", "mlflow", "model", "version", "corpus_fingerprint", "champion"),
            code=("serving/repository.py", "serving/signing.py", "pipelines/registry.py"),
            resources=Resources(cpu=1, memory_gib=4),
            timeout_s=HOUR,
            retries=3,
        ),
    ),
    Gate(after="evaluate", verdict="verdict"),
)  # fmt: skip
"""Every step's own module is part of its code as well."""
