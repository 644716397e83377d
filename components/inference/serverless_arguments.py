"""What ServerlessInference accepts, and what it is to build once every argument is found good."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from components import images
from components.accelerators import CATALOG, NotOffered
from components.inference import serverless_offers as offers
from components.inference.server_arguments import DEFAULT_PREFIX
from components.inference.startup import PERIOD_S, SAFETY, SERVER_START_S, seconds_to_move

if TYPE_CHECKING:
    from components.inference.serverless import ServerlessInferenceArgs

DEFAULT_LOAD_GIB_S = 0.25
DEFAULT_DEVICE_GIB_S = 0.5
DEFAULT_REQUESTS_PER_INSTANCE = 8
DEFAULT_TIMEOUT_S = 300
INGRESS = {
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "internal-and-load-balancer": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
    "all": "INGRESS_TRAFFIC_ALL",
}
EVERYBODY = ("allUsers", "allAuthenticatedUsers")

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_MEMBER = re.compile(r"(user|group|domain|serviceAccount|principal|principalSet):\S+")
_ROLE = re.compile(r"(arn:aws[a-z-]*:iam::\d{12}:role/(\S+/)?)?[\w+=,.@-]{1,64}")
_GIB = 2**30
_ONLY_GCP = {
    "ingress": "whoever has a signature reaches SageMaker's API, from anywhere; a VPC endpoint's policy narrows that",
    "unauthenticated": "SageMaker takes signed requests only",
    "zonal_redundancy": "SageMaker spreads instances over the zones of private_subnet_ids itself",
    "request_timeout_s": "a synchronous answer has a minute, an asynchronous request names its own time, up to an hour",
    "cpu": "an instance type, and the memory of a serverless endpoint, bring their cores along",
}


@dataclass(frozen=True)
class Endpoint:
    """What to build."""

    mode: str
    model: str
    version: int
    size_gib: float
    prefix: str
    accelerator: str
    """Empty: none."""
    gpus: int
    min_instances: int
    max_instances: int
    requests_per_instance: int
    memory_gib: int
    """Of an instance; 0 where an instance type brings it along."""
    download_s: int
    """Seconds that the model may take from the object store."""
    start_s: int
    """Seconds that a container may take until it is ready: the download too, where the container does it."""

    @property
    def version_prefix(self) -> str:
        """What the endpoint may read of the bucket."""
        return f"{self.prefix}/{self.model}/{self.version}/"


def checked(name: str, args: ServerlessInferenceArgs) -> Endpoint:
    """The endpoint that is asked for. ValueError names the component, the argument, its value and what is accepted."""
    return _Checks(name, args).endpoint()


class _Checks:
    def __init__(self, name: str, args: ServerlessInferenceArgs) -> None:
        self.name, self.args = name, args
        self.mode: str = args.get("mode", offers.SYNCHRONOUS)
        self.key: str = args.get("accelerator", "")

    def refuse(self, argument: str, accepted: str) -> NoReturn:
        given = self.name if argument == "name" else dict(self.args).get(argument)
        raise ValueError(f"ServerlessInference {self.name!r}: {argument} is {given!r}; {accepted}")

    def endpoint(self) -> Endpoint:
        args = self.args
        if args["cloud"] not in ("aws", "gcp"):
            self.refuse("cloud", "accepted are 'aws' and 'gcp'")
        if not _NAME.fullmatch(self.name):
            self.refuse("name", "a service of Cloud Run has up to 49 lower-case letters, digits and dashes")
        self.check_mode()
        self.check_image()
        self.check_model()
        self.check_numbers()
        self.check_network()
        self.check_invokers()
        most = int(args["max_instances"])
        memory = self.memory()
        alone = args["cloud"] == "aws" and self.mode == offers.SYNCHRONOUS
        download, start = self.times()
        return Endpoint(
            mode=self.mode,
            model=args["model"],
            version=int(args["version"]),
            size_gib=float(args["size_gib"]),
            prefix=args.get("repository_prefix", DEFAULT_PREFIX),
            accelerator=self.key,
            gpus=int(args.get("gpus", 1)) if self.key else 0,
            min_instances=int(args.get("min_instances", 0)),
            max_instances=most,
            requests_per_instance=int(args.get("requests_per_instance", 1 if alone else DEFAULT_REQUESTS_PER_INSTANCE)),
            memory_gib=memory,
            download_s=download,
            start_s=start,
        )

    # ---- how requests are answered, and by what

    def check_mode(self) -> None:
        region, on_aws = self.args["region"], self.args["cloud"] == "aws"
        if self.mode not in offers.MODES:
            self.refuse("mode", f"accepted are {', '.join(map(repr, offers.MODES))}")
        if not on_aws and self.mode == offers.ASYNCHRONOUS:
            self.refuse("mode", "Cloud Run answers on the request's own connection: accepted is 'synchronous'; a queue "
                        "before it, such as Cloud Tasks, is the caller's")  # fmt: skip
        if on_aws and self.mode == offers.SYNCHRONOUS and self.key:
            self.refuse("accelerator", "SageMaker's serverless endpoints have no GPU: give mode 'asynchronous', leave "
                        "accelerator out, or serve from a cluster with TritonInference")  # fmt: skip
        if on_aws and self.mode == offers.ASYNCHRONOUS and not self.key:
            self.refuse("accelerator", "an asynchronous endpoint has one, such as 'l4'")
        if on_aws and self.mode == offers.SYNCHRONOUS and region not in offers.SERVERLESS_REGIONS:
            self.refuse("region", f"SageMaker has serverless endpoints in {', '.join(offers.SERVERLESS_REGIONS)}")
        if "gpus" in self.args and (not self.key or (not on_aws and self.args["gpus"] != 1)):
            self.refuse("gpus", "accepted is 1 on Cloud Run, and none without an accelerator")
        if not self.key:
            return
        try:
            if on_aws:
                offers.sagemaker_instance(self.key, region, int(self.args.get("gpus", 1)))
            else:
                offers.cloud_run_gpu(self.key, region)
        except NotOffered as error:
            self.refuse("accelerator", str(error))

    def check_image(self) -> None:
        image, region = self.args["image"], self.args["region"]
        if problem := images.problem(image):
            self.refuse("image", problem)
        if self.args["cloud"] == "aws":
            if not re.match(rf"\d{{12}}\.dkr\.ecr\.{region}\.amazonaws\.com/", image):
                self.refuse("image", f"SageMaker pulls from ECR in its own region: <account>.dkr.ecr.{region}.amazonaws"
                            ".com/<repository>")  # fmt: skip
            if "@" in image and ":" in image.partition("@")[0]:
                self.refuse("image", "SageMaker takes a tag or a digest, not both")
        elif not re.match(r"[a-z0-9-]+-docker\.pkg\.dev/|([a-z]+\.)?gcr\.io/", image):
            self.refuse("image", "Cloud Run pulls from Artifact Registry: <location>-docker.pkg.dev/<project>/"
                        "<repository>/<image>")  # fmt: skip

    def check_model(self) -> None:
        args = self.args
        if not _MODEL_NAME.fullmatch(args["model"]):
            self.refuse("model", "accepted are letters, digits, '.', '_' and '-'")
        if args["version"] < 1 or args["version"] != int(args["version"]):
            self.refuse("version", "accepted is a whole number from 1")
        if not _PREFIX.fullmatch(args.get("repository_prefix", DEFAULT_PREFIX)):
            self.refuse("repository_prefix", "accepted is a path such as 'models' or 'team/models'")
        if not 0 < args["size_gib"] < math.inf:
            self.refuse("size_gib", "accepted is a number above 0")
        room = CATALOG[self.key].memory_gib * int(args.get("gpus", 1)) if self.key else math.inf
        if args["size_gib"] > room:
            self.refuse("size_gib", f"accepted is at most {room}, what its GPUs have")

    # ---- how much of it

    def check_numbers(self) -> None:
        args, on_aws = self.args, self.args["cloud"] == "aws"
        fewest, most = args.get("min_instances", 0), args["max_instances"]
        if most < 1 or most != int(most):
            self.refuse("max_instances", "accepted is a whole number from 1")
        if on_aws and self.mode == offers.SYNCHRONOUS and most > offers.SERVERLESS_MOST_CONCURRENCY:
            self.refuse("max_instances", f"accepted is at most {offers.SERVERLESS_MOST_CONCURRENCY}")
        if not 0 <= fewest <= most or fewest != int(fewest):
            self.refuse("min_instances", f"accepted is 0 to max_instances, {most}")
        at_once = args.get("requests_per_instance", 1)
        if not 1 <= at_once <= 1000 or at_once != int(at_once):
            self.refuse("requests_per_instance", "accepted is 1 to 1000")
        if on_aws:
            if self.mode == offers.SYNCHRONOUS and "requests_per_instance" in args:
                self.refuse("requests_per_instance", "a serverless endpoint sends one request at a time to an instance")
            for argument, why in _ONLY_GCP.items():
                if args.get(argument) is not None:
                    self.refuse(argument, f"accepted on gcp only: {why}")
        if not 1 <= args.get("request_timeout_s", DEFAULT_TIMEOUT_S) <= 3600:
            self.refuse("request_timeout_s", "accepted is 1 to 3600")
        for argument in ("load_bandwidth_gib_s", "device_bandwidth_gib_s"):
            number: Any = dict(args).get(argument, 1.0)
            if not 0 < number < math.inf:
                self.refuse(argument, "accepted is a number above 0")

    def memory(self) -> int:
        """GiB of an instance: the verified copy lies in memory on Cloud Run, and once more in the server."""
        args, size = self.args, float(self.args["size_gib"])
        if self.mode == offers.ASYNCHRONOUS:
            if "memory_gib" in args:
                self.refuse("memory_gib", "none: the instance type has what it has")
            return 0
        on_aws = args["cloud"] == "aws"
        copies = 1 if on_aws else 2
        needed = math.ceil(size * offers.MARGIN * copies + (1.0 if on_aws else offers.SERVER_GIB))
        most = offers.SERVERLESS_MOST_MEMORY_GIB if on_aws else offers.CLOUD_RUN_CORES[-1][0]
        least = offers.CLOUD_RUN_GPUS[self.key].least_memory_gib if self.key else 1
        memory = int(args.get("memory_gib", max(needed, least)))
        if needed > most or (on_aws and size * offers.MARGIN > offers.SERVERLESS_DISK_GIB):
            self.refuse("size_gib", f"with {copies} copies of it an instance needs {needed} GiB, of at most {most}; "
                        "serve it from a cluster with TritonInference")  # fmt: skip
        if not max(needed, least) <= memory <= most or memory != args.get("memory_gib", memory):
            self.refuse("memory_gib", f"accepted is a whole number of GiB from {max(needed, least)} to {most}")
        cores = offers.cloud_run_cores(memory, offers.CLOUD_RUN_GPUS[self.key].least_cpu if self.key else 1)
        if args.get("cpu", 8) not in (1, 2, 4, 6, 8) or args.get("cpu", cores) < cores:
            self.refuse("cpu", f"accepted are 1, 2, 4, 6 and 8, and with {memory} GiB at least {cores}")
        return memory

    def times(self) -> tuple[int, int]:
        """Seconds for the download, and until the container is ready."""
        args = self.args
        size = float(args["size_gib"]) * _GIB
        download = seconds_to_move(size, args.get("load_bandwidth_gib_s", DEFAULT_LOAD_GIB_S) * _GIB) * SAFETY
        device = args.get("device_bandwidth_gib_s", DEFAULT_DEVICE_GIB_S) * _GIB
        if self.mode == offers.ASYNCHRONOUS:
            # SageMaker downloads; the container reads it once to verify and once to load it.
            start = seconds_to_move(2 * size, device) * SAFETY + SERVER_START_S
            limits = (download, "load_bandwidth_gib_s"), (start, "device_bandwidth_gib_s")
            for seconds, argument in limits:
                if seconds > offers.SAGEMAKER_TIMEOUT_S:
                    self.refuse("size_gib", f"it takes {seconds:.0f} s to move, and SageMaker gives it "
                                f"{offers.SAGEMAKER_TIMEOUT_S}; give {argument} as it is measured")  # fmt: skip
            return max(300, math.ceil(download)), max(300, math.ceil(start))
        start = download + seconds_to_move(size, device) * SAFETY + SERVER_START_S
        most = offers.SERVERLESS_STARTUP_S if args["cloud"] == "aws" else offers.CLOUD_RUN_STARTUP_S
        start = math.ceil(start / PERIOD_S) * PERIOD_S
        if start > most:
            self.refuse("size_gib", f"an instance takes {start} s until it is ready, of at most {most}; give the "
                        "bandwidths that are measured, or serve it from a cluster with TritonInference")  # fmt: skip
        return math.ceil(download), int(start)

    # ---- who reaches it

    def check_network(self) -> None:
        args: dict[str, Any] = dict(self.args)
        on_aws = args["cloud"] == "aws"
        network = [argument for argument in ("network_id", "private_subnet_ids") if args.get(argument) is not None]
        if len(network) == 1:
            self.refuse(network[0], "network_id and private_subnet_ids are given together, or neither")
        if on_aws and self.mode == offers.ASYNCHRONOUS and not network:
            self.refuse("network_id", "an endpoint with instances is in a network: give RegionalNetwork's")
        if on_aws and self.mode == offers.SYNCHRONOUS and network:
            self.refuse("network_id", "none: SageMaker's serverless endpoints are in no network of one's own")
        if on_aws and self.mode == offers.ASYNCHRONOUS and args.get("encryption_key") is None:
            self.refuse("encryption_key", "give the bucket's key: answers are written under it")
        if args.get("ingress", "internal") not in INGRESS:
            self.refuse("ingress", f"accepted are {', '.join(map(repr, INGRESS))}")

    def check_invokers(self) -> None:
        on_aws = self.args["cloud"] == "aws"
        for invoker in self.args.get("invokers") or []:
            if not isinstance(invoker, str):
                continue
            if invoker in EVERYBODY:
                self.refuse("invokers", f"{invoker} is everybody: give unauthenticated, if that is meant")
            if on_aws and not _ROLE.fullmatch(invoker):
                self.refuse("invokers", f"{invoker!r} is no name or ARN of an IAM role")
            if not on_aws and not _MEMBER.fullmatch(invoker):
                self.refuse("invokers", f"{invoker!r} is no member such as serviceAccount:<email> or group:<email>")
