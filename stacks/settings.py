"""An environment as typed settings: the only place where Pulumi configuration is parsed.

`Pulumi.<environment>.yaml` is what a person edits. Its keys `ai-cloud:*` become one frozen `Settings`; everything wrong
in them is reported at once, each in a line that names the key's path, the value and what is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_type_hints

import pulumi
from pulumi.runtime.config import CONFIG
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from components.accelerators import CpuMachine, Fabric, MachineType, best_machine, cpu_machine, machine_type
from stacks import accepted, validation
from stacks.fields import Cidr, Count, Days, OpenCidr, Part, Place, Positive, Purpose, Text
from stacks.jobs import RayJob, Sweep, Training, TrainingJob
from stacks.observability_settings import Observability, ObservabilitySecrets
from stacks.pipelines import Pipelines
from stacks.problems import Problem, SettingsError, item_model, of_pydantic
from stacks.server_settings import KserveService, TensorflowServing
from stacks.serving import Model, Serverless, Serving

PROJECT = "ai-cloud"


class Region(Part):
    """A region of a cloud, and what it is for."""

    region: Place
    """the cloud and its region, such as aws:us-east-1"""
    cidr: Cidr
    """the private IPv4 network of the region, /16 to /20, such as 10.16.0.0/16"""
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)]
    """what runs there: training, serving or both"""
    public_access_cidrs: tuple[OpenCidr, ...] = ()
    """client networks that may reach the cluster's API; none: only from within its network"""
    nat_per_zone: bool = False
    """a NAT gateway in each zone instead of one: survives the loss of a zone, costs more"""
    drained: bool = False
    """take the region out of the front door"""

    @property
    def cloud(self) -> str:
        """`aws` or `gcp`."""
        return self.region.split(":", 1)[0]

    @property
    def name(self) -> str:
        """The cloud's own name of the region, such as `us-east-1`."""
        return self.region.split(":", 1)[1]


class Rung(Part):
    """One way to get machines, in a ladder from the first to try to the last."""

    kind: Literal["reservation", "capacity-block", "flex-start", "spot", "on-demand"]
    """reservation, capacity-block, flex-start, spot or on-demand"""
    reservations: tuple[Text, ...] = ()
    """ids of the capacity reservations or blocks (AWS), names of reservations (GCP)"""
    floor: Count = 0
    """machines that always stand on this rung"""
    ceiling: Positive | None = None
    """most machines on this rung"""


class GpuSharing(Part):
    """How pods share an accelerator."""

    mode: Literal["mig", "time-slicing"]
    """mig (partitions of its own memory) or time-slicing (no isolation)"""
    profile: Text | None = None
    """MIG profile, such as 1g.10gb"""
    replicas: Annotated[int, Field(ge=2, le=48)] | None = None
    """pods that share one accelerator by time-slicing"""


class Taint(Part):
    """A taint of all nodes of a pool, besides those that it has by its purpose and accelerator."""

    key: Text
    """key of the taint"""
    value: str | None = None
    """value of the taint"""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    """NoSchedule, PreferNoSchedule or NoExecute"""


class NodePool(Part):
    """Machines of one kind, the same in each of its regions. A name stands for one pool in a region."""

    name: Annotated[str, AfterValidator(accepted.pool_name)]
    """name of the pool, such as serving-l4"""
    purpose: Literal["system", "serving", "training"]
    """system, serving or training"""
    accelerator: Text | None = None
    """key of the catalog, such as l4; without it the machines have none"""
    accelerators_per_machine: Positive | None = None
    """accelerators in each machine; absent, and without machineType: 8 with fabric, else 1"""
    machine_type: Text | None = None
    """machine type, instead of the cheapest that fits; in pools without accelerator instead of the cloud's usual one"""
    min: Count
    """fewest machines"""
    max: Positive
    """most machines"""
    regions: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    """regions that have the pool; absent: all that have its purpose, and for system pools all"""
    zones: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """zones for its machines, such as those of a reservation; absent: all zones of the network"""
    ladder: Annotated[tuple[Rung, ...], Field(min_length=1)]
    """ways to get machines, the first to try first"""
    static: bool = False
    """a group of fixed size, its machines close together"""
    fabric: bool = False
    """attach the network that training uses between machines (EFA, GPUDirect)"""
    gpu_sharing: GpuSharing | None = None
    """how pods share an accelerator"""
    local_nvme_raid: bool = False
    """one RAID0 out of the machine's own NVMe disks, as the node's ephemeral storage"""
    labels: dict[str, str] = {}
    """labels of all nodes, besides those that every pool has"""
    taints: tuple[Taint, ...] = ()
    """taints of all nodes, besides those that every pool has"""
    disk_gib: Annotated[int, Field(ge=20, le=16384)] = 200
    """size of each node's boot disk"""

    def machine_in(self, region: Region) -> MachineType | CpuMachine:
        """The machine that the pool has in a region. Raises NotOffered where it cannot have any."""
        if self.accelerator is None:
            return cpu_machine(region.cloud, self.machine_type)
        if self.machine_type is not None:
            return machine_type(region.cloud, self.machine_type)
        return best_machine(
            self.accelerator, region.cloud, region.name, self.accelerators_per_machine or (8 if self.fabric else 1)
        )

    def component_args(self) -> dict[str, Any]:
        """The pool as `NodePoolArgs` of GpuCluster, without what isn't given."""
        return self.model_dump(mode="json", exclude={"regions"}, exclude_none=True)


class HotTier(Part):
    """A parallel file system, in regions that train."""

    capacity_gib: Positive
    """size in GiB; AWS 1200 or a multiple of 2400, GCP a multiple of 9000, in both a multiple of 36000"""
    throughput_mbps_per_tib: Literal[125, 250, 500, 1000] | None = None
    """MB/s for each TiB: 125, 250, 500 or 1000"""


class WarmTier(Part):
    """A shared file system."""

    capacity_gib: Annotated[int, Field(ge=1024, le=102400)] | None = None
    """size in GiB, 1024 to 102400"""


class ColdTier(Part):
    """The object store: in how many days objects move to colder classes, and where their copy is."""

    infrequent_after_days: Annotated[int, Field(ge=30, le=3650)] = 30
    """age at which objects move to infrequent access"""
    archive_after_days: Days = 90
    """age at which objects move to the instant archive"""
    deep_archive_after_days: Days | None = None
    """age at which objects move to the deep archive; absent: never"""
    noncurrent_days: Days = 90
    """days for which overwritten and deleted objects can be brought back"""
    replicate_to: dict[Place, Place] = {}
    """region -> the region of the same cloud that keeps a copy of its objects"""


class Storage(Part):
    """Storage tiers of every region."""

    hot: HotTier | None = None
    """parallel file system; absent: none"""
    warm: WarmTier | None = None
    """shared file system; absent: none"""
    cold: ColdTier = ColdTier()
    """object store"""


class FrontDoor(Part):
    """The one global entry."""

    domain: Annotated[str, AfterValidator(accepted.domain)]
    """domain of the endpoint, such as inference.example.com"""
    hosted_zone_id: Annotated[str, AfterValidator(accepted.hosted_zone_id)]
    """id of the Route 53 hosted zone that holds the domain, such as Z0123456789EXAMPLE"""
    routing_policy: Literal["latency", "weighted"] = "latency"
    """latency (nearest healthy region) or weighted"""
    health_check_path: Annotated[str, AfterValidator(accepted.path)] = "/v2/health/ready"
    """path that the health checks ask"""
    weights: dict[Place, Annotated[int, Field(ge=0, le=255)]] = {}
    """region -> share of the traffic under routingPolicy weighted, 0 to 255"""


class Budget(Part):
    """What a month may cost, in US dollars, before the owner is told; for each cloud that is used."""

    aws: Annotated[float, Field(gt=0)] | None = None
    """of the AWS account; absent: no alarm"""
    gcp: Annotated[float, Field(gt=0)] | None = None
    """of the GCP project; absent: no alarm"""
    billing_account: Annotated[str, AfterValidator(accepted.billing_account)] | None = None
    """billing account that pays for the GCP project, such as 01AB23-45CD67-89EF01"""

    def of_clouds(self) -> Iterator[tuple[str, float, dict[str, str]]]:
        """Cloud, amount and where it is billed, of the clouds that have a budget."""
        if self.aws is not None:
            yield "aws", self.aws, {}
        if self.gcp is not None:
            yield "gcp", self.gcp, {"billing_account": self.billing_account or ""}


class Settings(Part):
    """One environment."""

    owner: Annotated[str, AfterValidator(accepted.email)]
    """email address of the team that answers for the environment"""
    tags: Annotated[dict[str, str], AfterValidator(accepted.tags)] = {}
    """tags of every resource"""
    protect: bool = False
    """refuse to delete what holds data"""
    budget: Budget = Budget()
    """monthly budgets and their alarms"""
    kubernetes_version: Annotated[str, AfterValidator(accepted.kubernetes_version)]
    """Kubernetes minor version in quotes, such as "1.33\""""
    administrators: tuple[Annotated[str, AfterValidator(accepted.principal)], ...] = ()
    """who administers the clusters: ARNs of AWS roles and users, user:... and group:... of Google"""
    regions: Annotated[tuple[Region, ...], Field(min_length=1)]
    """regions of the environment"""
    node_pools: Annotated[tuple[NodePool, ...], Field(min_length=1)]
    """node pools"""
    storage: Storage = Storage()
    """storage tiers"""
    observability: Observability | None = None
    """what is watched, for how long, and who is told; absent: a Prometheus for autoscalers alone"""
    observability_secrets: ObservabilitySecrets = ObservabilitySecrets()
    """secrets of those who are told, each set with --secret"""
    front_door: FrontDoor | None = None
    """the one global entry; absent: none"""
    serving: Serving
    """the inference server"""
    models: tuple[Model, ...] = ()
    """models to serve"""
    kserve_services: tuple[KserveService, ...] = ()
    """servers behind KServe"""
    tensorflow_servings: tuple[TensorflowServing, ...] = ()
    """servers of SavedModels"""
    serverless: tuple[Serverless, ...] = ()
    """models that are answered without a cluster"""
    training: Training | None = None
    """what all training runs have in common; absent: none"""
    training_jobs: tuple[TrainingJob, ...] = ()
    """training runs, each of a gang of machines"""
    sweeps: tuple[Sweep, ...] = ()
    """searches for the best settings of a training run"""
    ray_jobs: tuple[RayJob, ...] = ()
    """training runs on Ray clusters of their own"""
    pipelines: tuple[Pipelines, ...] = ()
    """regions that have servers of the closed loop"""

    def regions_for(self, purpose: str) -> tuple[Region, ...]:
        """Regions that train or serve, or with `system` all."""
        return tuple(region for region in self.regions if purpose == "system" or purpose in region.purposes)

    def node_pools_in(self, region: Region) -> tuple[NodePool, ...]:
        """The pools that a region has."""
        return tuple(pool for pool in self.node_pools if region in self._places(pool.regions, pool.purpose))

    def models_in(self, region: Region) -> tuple[Model, ...]:
        """The models that a region serves."""
        return tuple(model for model in self.models if region in self._places(model.regions, "serving"))

    def kserve_services_in(self, region: Region) -> tuple[KserveService, ...]:
        """The servers behind KServe that a region has."""
        return tuple(one for one in self.kserve_services if region in self._places(one.regions, "serving"))

    def tensorflow_servings_in(self, region: Region) -> tuple[TensorflowServing, ...]:
        """The servers of SavedModels that a region has."""
        return tuple(one for one in self.tensorflow_servings if region in self._places(one.regions, "serving"))

    def pipelines_in(self, region: Region) -> Pipelines | None:
        """What a region has for the closed loop."""
        return next((one for one in self.pipelines if one.region == region.region), None)

    def lends(self, region: Region) -> bool:
        """Whether a region's serving machines are lent to training while they are idle: wherever both are."""
        return "training" in region.purposes and bool(self.models_in(region))

    def administrators_of(self, cloud: str) -> tuple[str, ...]:
        """The administrators whom a cloud knows."""
        return tuple(who for who in self.administrators if who.startswith("arn:") == (cloud == "aws"))

    def gpudirect_in(self, region: Region) -> tuple[Fabric, str] | None:
        """The widest GPUDirect fabric of the region's machines, whose NICs need networks of their own, and its zone.

        None on AWS. The zone is empty where machines may be in any.
        """
        found: list[tuple[Fabric, str]] = []
        for pool in self.node_pools_in(region):
            machine = pool.machine_in(region)
            if pool.fabric and isinstance(machine, MachineType) and machine.fabric.kind.startswith("gpudirect"):
                found.append((machine.fabric, pool.zones[0] if pool.zones else ""))
        return max(found, key=lambda one: one[0].interfaces, default=None)

    def _places(self, named: tuple[str, ...] | None, purpose: str) -> tuple[Region, ...]:
        if named is None:
            return self.regions_for(purpose)
        return tuple(region for region in self.regions if region.region in named)


def load_settings(config: pulumi.Config | Mapping[str, Any] | None = None) -> Settings:
    """Settings of the stack that runs, or of a mapping such as `config:` in a stack file. Raises SettingsError."""
    return parse(config) if isinstance(config, Mapping) else from_pulumi(config)


def from_pulumi(config: pulumi.Config | None = None) -> Settings:
    """Settings of the stack that runs. Raises SettingsError.

    Pulumi hands over every value as text, and values that aren't text as JSON.
    """
    config = config or pulumi.Config(PROJECT)
    fields = _fields()
    # The SDK has no public call that lists a project's keys; without one, a misspelt key would be silently ignored.
    keys = {key.split(":", 1)[1] for key in CONFIG.get() if key.startswith(f"{PROJECT}:")}
    values: dict[str, Any] = {}
    for key in sorted(keys.union(fields)):
        text = config.get(key)
        if text is not None:
            values[f"{PROJECT}:{key}"] = _decoded(fields[key][1], text) if key in fields else text
    if project := pulumi.Config("gcp").get("project"):
        values["gcp:project"] = project
    return parse(values)


def parse(values: Mapping[str, Any]) -> Settings:
    """Settings out of full configuration keys, such as `ai-cloud:owner` and `gcp:project`, to plain values.

    Raises SettingsError with everything that is wrong: where a region, pool or model cannot be read, the others are
    still checked against each other.
    """
    fields = _fields()
    parts: dict[str, Any] = {}
    problems: list[Problem] = []
    for key in values:
        project, _, name = key.partition(":")
        if project == PROJECT and name not in fields:
            problems.append(Problem.unknown(key, fields))
    for name, (field, hint) in fields.items():
        key = f"{PROJECT}:{name}"
        if key in values:
            parts[name], found = _read(hint, values[key], key)
            problems += found
        elif field.is_required():
            problems.append(Problem.missing(key, str(field.description)))
    problems += validation.problems(parts, values)
    if problems:
        raise SettingsError(problems)
    whole = {name: tuple(part.values()) if _lists_models(fields[name][1]) else part for name, part in parts.items()}
    return Settings.model_validate(whole)


def _fields() -> dict[str, tuple[FieldInfo, Any]]:
    """Key -> field and its type, annotations included."""
    hints = get_type_hints(Settings, include_extras=True)
    return {str(field.alias): (field, hints[name]) for name, field in Settings.model_fields.items()}


def _lists_models(hint: Any) -> bool:
    return item_model(hint) is not None


def _decoded(hint: Any, text: str) -> Any:
    if getattr(hint, "__origin__", hint) is str:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # the field says what it accepts instead


def _read(hint: Any, raw: Any, path: str) -> tuple[Any, list[Problem]]:
    """What `raw` means, None if nothing, and what is wrong with it; of a list of models, those that mean something by
    their index."""
    value, problems = _validated(hint, raw, path)
    item = item_model(hint)
    if item is None:
        return value, problems
    if value is not None:
        return dict(enumerate(value)), problems
    read = {index: _validated(item, entry, path)[0] for index, entry in enumerate(raw if isinstance(raw, list) else ())}
    return {index: entry for index, entry in read.items() if entry is not None}, problems


def _validated(hint: Any, raw: Any, path: str) -> tuple[Any, list[Problem]]:
    try:
        # by way of JSON, where a list may become a tuple although types are strict
        return TypeAdapter(hint).validate_json(json.dumps(raw, default=str), strict=True), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        # pydantic doesn't count entries that have a mistake of their own, and so calls their list too short
        return None, [of_pydantic(hint, path, it) for it in details if it["type"] != "too_short" or not it["input"]]
