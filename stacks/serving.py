"""Serving as an environment asks for it: the inference server, what stands by for it, its models, and those that need
no cluster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Count, Part, Place, Positive, Text
from stacks.scaling import Scaling


class Route(Part):
    """The gateway between the load balancer and the servers: it shares requests among versions of a model."""

    namespace: Annotated[str, AfterValidator(accepted.dns_label)] = "gateway"
    """Kubernetes namespace of the proxies"""
    request_timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    """seconds from a request to the end of its answer"""
    retries: Annotated[int, Field(ge=0, le=5)] = 2
    """more tries of a request that no server can have worked on yet"""
    weights_by: Literal["program", "rollout"] = "rollout"
    """who sets the shares: program (each update says how they are) or rollout (a rollout, from the first ones on)"""
    min_proxies: Annotated[int, Field(ge=2, le=100)] = 2
    """fewest proxies in each region"""
    max_proxies: Annotated[int, Field(ge=2, le=100)] = 6
    """most proxies in each region"""


class ColdStart(Part):
    """What was measured of cold starts, the same in each region; what is absent stays an estimate."""

    node_s: Annotated[float, Field(ge=0)] | None = None
    """seconds until a machine is there, with driver and device plugin; absent: 300"""
    image_s: Annotated[float, Field(ge=0)] | None = None
    """seconds to pull and unpack the image; absent: 150"""
    server_s: Annotated[float, Field(ge=0)] | None = None
    """seconds of Triton itself, and of its models' warm-up; absent: 60"""
    load_gib_s: Annotated[float, Field(gt=0)] | None = None
    """GiB/s from the object store to local disk; absent: 0.25"""
    claim_gib_s: Annotated[float, Field(gt=0)] | None = None
    """GiB/s from the region's shared file system to local disk; absent: 0.25"""
    device_gib_s: Annotated[float, Field(gt=0)] | None = None
    """GiB/s from local disk to each accelerator; absent: 0.5"""


class Rollouts(Part):
    """What carries models' next versions through the gateway."""

    image: Annotated[str, AfterValidator(accepted.image)]
    """container image of workloads/rollout/Dockerfile"""
    namespace: Annotated[str, AfterValidator(accepted.dns_label)] = "rollouts"
    """Kubernetes namespace"""


class Serving(Part):
    """The inference server."""

    image: Annotated[str, AfterValidator(accepted.image)]
    """container image with a tag or digest"""
    namespace: Annotated[str, AfterValidator(accepted.dns_label)]
    """Kubernetes namespace"""
    warm_machines: dict[Place, Positive] = {}
    """region -> machines that stand ready for a replica more, where none are lent to training; absent: none"""
    prepull_images: tuple[Annotated[str, AfterValidator(accepted.image)], ...] | None = None
    """images that machines pull ahead, such as the next one, besides the one that serves; absent: not even that"""
    weights_from_warm_tier: bool = False
    """copy models into the region's shared file system once, and start pods from there instead of the object store"""
    cold_start: ColdStart = ColdStart()
    """what was measured of cold starts"""
    cold_start_objective_s: Annotated[float, Field(gt=0)] | None = None
    """seconds that one more replica may take by the estimate, from wish to first answer; absent: any"""
    route: Route | None = None
    """the gateway before the servers; absent: the load balancer sends to them directly"""
    rollouts: Rollouts | None = None
    """what rolls out a model's next version; absent: nothing does"""


class Next(Part):
    """A version that a rollout brings in, on servers of its own in the namespace of that name with `-next`. Once it is
    promoted, the model's own `version` becomes the same: then requests are handed back, and all of this can go."""

    version: Positive
    """version in the model repository"""
    size_gib: Annotated[float, Field(gt=0)] | None = None
    """size of the version's files in GiB; absent: the model's"""
    rollout: dict[str, Any] = {}
    """strategy, steps, guardrails: fields of workloads.rollout.spec, without versions. Another try of the same version
    needs another name than the first, which has that of the model and the version"""
    texts: tuple[Text, ...] = ()
    """what both versions score, where quality is a guardrail"""

    def specification(self, model: str, version: int) -> dict[str, Any]:
        """The rollout from a model's version to this one."""
        return {
            "name": f"{model}-{self.version}",
            "baseline": f"{model}:{version}",
            "candidate": f"{model}:{self.version}",
            **self.rollout,
        }


class Model(Part):
    """A model to serve."""

    name: Annotated[str, AfterValidator(accepted.dns_label)]
    """name of the model, such as sentiment"""
    version: Positive
    """version in the model repository"""
    size_gib: Annotated[float, Field(gt=0)]
    """size of the version's files in GiB"""
    accelerator: Text
    """key of the catalog, such as l4"""
    gpus: Positive
    """accelerators that share the model, all in one machine (tensor parallel)"""
    over_pcie: bool = False
    """accept several accelerators without NVLink between them"""
    device_memory_gib: Annotated[float, Field(ge=0)] | None = None
    """memory that it takes on each accelerator in GiB; absent: 1.2 times its files, divided by gpus"""
    group: Annotated[str, AfterValidator(accepted.model_group)] | None = None
    """models of one group share their replicas, and scale by themselves; absent: the group of all that name none"""
    min_replicas: Count
    """fewest replicas in each region, from 1: without one there is no queue to scale up on; 0 with scaling.toZero"""
    max_replicas: Positive
    """most replicas in each region"""
    queue_objective_ms: Annotated[float, Field(gt=0)] = 50.0
    """milliseconds that a request may wait in the queue before replicas are added"""
    scaling: Scaling | None = None
    """what else replicas go by, and how fast they change; absent: the defaults"""
    regions: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    """regions that serve it; absent: all that serve"""
    next: Next | None = None
    """version that is rolled out, one model's at a time; absent: none"""

    def as_next(self) -> Model:
        """The same, as the servers of its next version have it. Only of a model that has one."""
        assert self.next is not None
        changes = {"version": self.next.version, "size_gib": self.next.size_gib or self.size_gib, "group": None}
        return self.model_copy(update=changes)


class Serverless(Part):
    """A model that is answered without a cluster, in one region."""

    name: Annotated[str, AfterValidator(accepted.job_name)]
    """name of the service or endpoint in its region, such as embeddings"""
    region: Place
    """the cloud and its region"""
    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """synchronous, or asynchronous (AWS; the only one there that has GPUs)"""
    image: Annotated[str, AfterValidator(accepted.image)]
    """the serving image in the cloud's own registry: ECR of the region, or Artifact Registry"""
    model: Annotated[str, AfterValidator(accepted.dns_label)]
    """name of the model"""
    version: Positive
    """version in the model repository"""
    size_gib: Annotated[float, Field(gt=0)]
    """size of the version's files in GiB"""
    accelerator: Text | None = None
    """key of the catalog, such as l4; absent: none"""
    gpus: Positive | None = None
    """GPUs of each instance (AWS); absent: one, where there is an accelerator"""
    memory_gib: Positive | None = None
    """memory of each instance, of synchronous ones; absent: what the model needs"""
    cpu: Positive | None = None
    """cores of each instance (GCP); absent: the fewest that go with its memory"""
    min_instances: Count = 0
    """instances that are always ready"""
    max_instances: Positive
    """most instances"""
    requests_per_instance: Positive | None = None
    """requests that an instance is given at once"""
    request_timeout_s: Annotated[int, Field(ge=1, le=3600)] | None = None
    """seconds that a request may take (GCP)"""
    ingress: Literal["internal", "internal-and-load-balancer", "all"] | None = None
    """from where requests are taken (GCP): internal, internal-and-load-balancer or all"""
    invokers: tuple[Annotated[str, AfterValidator(accepted.principal)], ...] = ()
    """who may send requests: ARNs of AWS roles; user:..., group:... and serviceAccount:... of Google"""

    @property
    def cloud(self) -> str:
        """`aws` or `gcp`."""
        return self.region.split(":", 1)[0]

    def component_args(self) -> dict[str, Any]:
        """As arguments of ServerlessInference, without what isn't given."""
        return self.model_dump(mode="json", exclude={"name", "region"}, exclude_none=True)
