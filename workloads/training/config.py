"""What a training run is made of: its sections, and the named runs as Python functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workloads.training.errors import ConfigError
from workloads.training.section import Section, kinds, setting


@dataclass(frozen=True)
class Model(Section):
    """A decoder-only transformer."""

    place = "model"
    layers: int = setting(4, "transformer blocks", at_least=1)
    width: int = setting(128, "width of the residual stream", at_least=1)
    heads: int = setting(4, "query heads", at_least=1)
    key_value_heads: int = setting(2, "key and value heads, shared by groups of query heads", at_least=1)
    feed_forward: int = setting(384, "inner width of the feed-forward layers", at_least=1)
    vocabulary: int = setting(0, "tokens that the model knows; 0: those of the data", at_least=0)
    norm: Literal["rms", "layer"] = setting("rms", "RMSNorm or LayerNorm")
    norm_epsilon: float = setting(1e-5, "added to the variance", at_least=0.0)
    positions: Literal["rotary", "learned"] = setting("rotary", "rotary embedding or learned positions")
    rotary_base: float = setting(10_000.0, "base of the rotary frequencies", at_least=1.0)
    activation: Literal["swiglu", "gelu"] = setting("swiglu", "of the feed-forward layers")
    bias: bool = setting(False, "linear layers and norms have biases")
    tied: bool = setting(True, "one matrix embeds tokens and predicts them")
    dropout: float = setting(0.0, "share dropped of attention and of each block's output", at_least=0.0, at_most=0.9)


@dataclass(frozen=True)
class Data(Section):
    """Where tokens come from, and how they are cut into sequences."""

    place = "data"
    source: str = setting("", "prepared tokens: a directory, file://, s3://, gs:// or az://; also --data")
    sequence_length: int = setting(256, "tokens that a sequence predicts", at_least=1)
    cache: str = setting("", "directory on local NVMe for shards from afar; default: in the output directory")
    cache_limit_gib: float = setting(100.0, "most that the cache holds", at_least=0.0)
    on_bad_shard: Literal["error", "skip"] = setting("error", "a broken shard stops, or is skipped and counted")


@dataclass(frozen=True)
class Optimizer(Section):
    """AdamW with decoupled weight decay on matrices, gradient clipping, warm-up and a cosine."""

    place = "optimizer"
    learning_rate: float = setting(1e-3, "at its highest", at_least=0.0)
    final_fraction: float = setting(0.1, "the last learning rate, in highest ones", at_least=0.0, at_most=1.0)
    warmup_steps: int = setting(20, "until the learning rate is at its highest", at_least=0)
    beta1: float = setting(0.9, "decay of the mean of gradients", at_least=0.0, at_most=0.99999)
    beta2: float = setting(0.95, "decay of the mean of squares", at_least=0.0, at_most=0.99999)
    epsilon: float = setting(1e-8, "added to the root of the mean of squares", at_least=0.0)
    weight_decay: float = setting(0.1, "of matrices; never of biases, norms and positions", at_least=0.0)
    clip_norm: float = setting(1.0, "longest gradient of a step; 0: any", at_least=0.0)


@dataclass(frozen=True)
class Training(Section):
    """How long, in which batches, and what is done when the loss goes wrong."""

    place = "training"
    steps: int = setting(500, "optimizer steps in all, also across restarts", at_least=1)
    batch_size: int = setting(16, "sequences in a step, of all processes together", at_least=1)
    micro_batch_size: int = setting(0, "sequences that a process takes at once; 0: its whole share", at_least=0)
    seed: int = setting(1, "of weights, order and dropout", at_least=0)
    initial: str = setting("", "weights to begin with: a safetensors file, or a run or checkpoint; empty: drawn anew")
    evaluate_every: int = setting(100, "steps between evaluations on held-out text; 0: only at the end", at_least=0)
    evaluation_batches: int = setting(4, "batches that an evaluation reads", at_least=1)
    log_every: int = setting(10, "steps between lines where there is no terminal", at_least=1)
    on_bad_loss: Literal["stop", "skip", "roll-back"] = setting(
        "skip", "a loss that is no number or leaps: stop; leave the step out; or go back and pass over the data"
    )
    bad_losses: int = setting(10, "left out or gone back before the run is given up", at_least=0)
    spike_factor: float = setting(3.0, "times the median of the last losses is a leap; 0: never", at_least=0.0)


@dataclass(frozen=True)
class Parallel(Section):
    """How the work is spread over devices; the world itself is torchrun's."""

    place = "parallel"
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto: GPUs where there are some")
    strategy: Literal["auto", "ddp", "fsdp", "horovod"] = setting(
        "auto", "auto: DDP, FSDP2 from a billion parameters, Horovod under horovodrun"
    )
    tensor: int = setting(1, "processes that share each matrix (tensor parallel); needs FSDP2", at_least=1)
    precision: Literal["auto", "float32", "bfloat16"] = setting("auto", "of matrix products; auto: bfloat16 on GPUs")
    activation_checkpointing: bool = setting(False, "compute activations twice rather than keep them")
    compile: bool = setting(False, "torch.compile each block; the first step takes a minute")
    deterministic: bool = setting(True, "the same bits on every run of the same machines")
    timeout_s: float = setting(600.0, "until a collective that somebody does not join is an error", at_least=1.0)
    hang_s: float = setting(300.0, "in one phase of a step, until a process says who hangs, and where", at_least=2.0)


@dataclass(frozen=True)
class Checkpoint(Section):
    """How often the state is saved, and where to."""

    place = "checkpoint"
    every: int = setting(50, "steps between checkpoints: as many may be lost to a power cut", at_least=1)
    keep: int = setting(3, "checkpoints kept", at_least=1)
    remote: str = setting("", "object store that they go on to: s3://, gs:// or az://")
    upload_wait_s: float = setting(600.0, "at the end, until what is not in the object store fails", at_least=0.0)


@dataclass(frozen=True)
class Tracking(Section):
    """Whom the run tells besides its own metrics.jsonl."""

    place = "tracking"
    prometheus_port: int = setting(0, "serve metrics there for Prometheus; 0: don't", at_least=0, at_most=65_535)
    opentelemetry: bool = setting(False, "send metrics and traces to OTEL_EXPORTER_OTLP_ENDPOINT, over HTTP")
    mlflow: str = setting("", "tracking URI of MLflow; empty: don't")
    experiment: str = setting("training", "the experiment there")
    registered_model: str = setting("", "what the model is registered as there; empty: as the config is named")


TARGETS = ("query", "key", "value", "output", "up", "gate", "down")


@dataclass(frozen=True)
class Lora(Section):
    """Fine-tuning with low-rank adapters (Hu et al. 2021): the base stays as it is."""

    place = "lora"
    rank: int = setting(0, "of the adapters; 0: all weights are trained, from the start", at_least=0)
    alpha: float = setting(16.0, "adapters count alpha / rank times", at_least=0.0)
    targets: str = setting(",".join(TARGETS), f"matrices that get an adapter, of {', '.join(TARGETS)}")
    base: str = setting("", "a safetensors file, or a run or checkpoint of one: a path, s3://, gs:// or az://")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.matrices) <= set(TARGETS):
            raise ConfigError(f"lora.targets: {self.targets!r}: expected some of {','.join(TARGETS)}")
        if bool(self.rank) != bool(self.base):
            raise ConfigError(
                f"lora.base: {self.base!r}: adapters of rank {self.rank} need one"
                if self.rank
                else f"lora.rank: 0: expected 1 or more beside lora.base {self.base!r}"
            )

    @property
    def matrices(self) -> tuple[str, ...]:
        return tuple(self.targets.split(","))


@dataclass(frozen=True)
class Config:
    """A whole run. Raises ConfigError where sections contradict each other."""

    name: str
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    parallel: Parallel = Parallel()
    checkpoint: Checkpoint = Checkpoint()
    tracking: Tracking = Tracking()
    lora: Lora = Lora()

    def __post_init__(self) -> None:
        model = self.model
        if model.width % model.heads:
            raise ConfigError(f"model.width: {model.width}: expected a multiple of model.heads, {model.heads}")
        if model.positions == "rotary" and model.width // model.heads % 2:
            raise ConfigError(f"model.heads: {model.heads}: rotary positions need heads of an even width")
        if model.heads % model.key_value_heads:
            raise ConfigError(f"model.key_value_heads: {model.key_value_heads}: expected a divisor of {model.heads}")
        if self.parallel.tensor > 1 and self.parallel.strategy in ("ddp", "horovod"):
            raise ConfigError("parallel.tensor: shares matrices, DDP copies them: expected parallel.strategy fsdp")
        if self.parallel.tensor > 1 and model.tied:
            raise ConfigError("parallel.tensor: a shared embedding cannot be split: expected model.tied false")
        if model.key_value_heads % self.parallel.tensor:
            raise ConfigError(f"parallel.tensor: {self.parallel.tensor}: expected a divisor of model.key_value_heads")
        if self.training.initial and self.lora.rank:
            raise ConfigError(f"training.initial: {self.training.initial!r}: adapters begin with lora.base instead")
        if self.parallel.tensor > 1 and self.lora.rank:
            raise ConfigError(
                f"parallel.tensor: {self.parallel.tensor}: adapters are not shared: expected 1 with lora.rank"
            )

    def sections(self) -> dict[str, Section]:
        named = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Section)}

    def override(self, values: Mapping[str, Any]) -> Config:
        """With other values by dotted name, such as `{"model.layers": 4}`. Raises ConfigError for an unknown name."""
        changed: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            section, _, key = name.partition(".")
            if section not in self.sections() or key not in kinds(type(self.sections()[section])):
                raise ConfigError(f"{name}: no such setting")
            changed.setdefault(section, {})[key] = value
        replaced: dict[str, Any] = {
            name: dataclasses.replace(self.sections()[name], **keys) for name, keys in changed.items()
        }
        return dataclasses.replace(self, **replaced)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def tiny() -> Config:
    """Under a million parameters: minutes on a laptop's CPU."""
    return Config("tiny", Model(layers=4, width=128, heads=4, key_value_heads=2, feed_forward=384))


def gpt2_124m() -> Config:
    """GPT-2 small (Radford et al. 2019): 124 M parameters, 0.5 M tokens a step."""
    return Config(
        "gpt2_124m",
        # 50,257 tokens, rounded up to a multiple of 128, as tensor cores like it.
        Model(12, 768, 12, 12, 3072, 50_304, "layer", positions="learned", activation="gelu", bias=True),
        Data(sequence_length=1024),
        Optimizer(6e-4, warmup_steps=700),
        Training(steps=19_000, batch_size=512, micro_batch_size=32, evaluate_every=250, evaluation_batches=2),
        Parallel(compile=True),
        Checkpoint(every=250),
    )


def llama_1b() -> Config:
    """The shape of Llama 3.2 1B (Meta 2024): 1.24 B parameters, 1 M tokens a step."""
    return Config(
        "llama_1b",
        Model(16, 2048, 32, 8, 8192, 128_256, rotary_base=500_000.0),
        Data(sequence_length=4096),
        Optimizer(3e-4, warmup_steps=1000),
        Training(steps=50_000, batch_size=256, micro_batch_size=4, evaluate_every=500, evaluation_batches=2),
        Parallel(strategy="fsdp", activation_checkpointing=True, compile=True),
        Checkpoint(every=200),
    )


def llama_8b() -> Config:
    """The shape of Llama 3 8B (Grattafiori et al. 2024): 8.03 B parameters, 4 M tokens a step."""
    return Config(
        "llama_8b",
        Model(32, 4096, 32, 8, 14_336, 128_256, rotary_base=500_000.0, tied=False),
        Data(sequence_length=8192),
        Optimizer(3e-4, warmup_steps=2000),
        Training(steps=100_000, batch_size=512, micro_batch_size=1, evaluate_every=1000, evaluation_batches=2),
        Parallel(strategy="fsdp", activation_checkpointing=True, compile=True, timeout_s=1800.0),
        Checkpoint(every=200),
    )


NAMED = {make.__name__: make for make in (tiny, gpt2_124m, llama_1b, llama_8b)}
