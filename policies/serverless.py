"""Services and endpoints without a cluster: who reaches them, as whom they run, under which key, and which image."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies import kinds
from policies.declare import Parameters, Violation, at, each, off, on, resource_policy, stack_policy, texts
from policies.lookup import managed, unclear

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_EVERYBODY = ("allUsers", "allAuthenticatedUsers")


@resource_policy(
    "services-are-not-public",
    "A service without a cluster takes requests from networks of one's own, and from nobody without an identity",
    types=(kinds.CLOUD_RUN, kinds.CLOUD_RUN_MEMBER, kinds.CLOUD_RUN_BINDING),
    risk="critical",
    why="https://cloud.google.com/run/docs/securing/ingress",
    fix="Set ingress to internal, or to internal and load balancers, and name who may invoke it.",
)
def services_are_not_public(resource: Resource, _: Parameters) -> Iterator[str]:
    if resource.type == kinds.CLOUD_RUN:
        # Google's own default is the open one.
        if at(resource, "ingress", "INGRESS_TRAFFIC_ALL") == "INGRESS_TRAFFIC_ALL":
            yield "takes requests from the whole internet; expected ingress INGRESS_TRAFFIC_INTERNAL_ONLY"
        if on(at(resource, "invokerIamDisabled")):
            yield "asks nobody who they are; expected invokerIamDisabled off"
        return
    members = [*texts(resource, "member"), *texts(resource, "members")]
    for member in sorted(set(members) & set(_EVERYBODY)):
        yield f"lets {member} in; expected named members"


@resource_policy(
    "services-have-identities-of-their-own",
    "A service without a cluster runs as an account of its own",
    types=(kinds.CLOUD_RUN,),
    risk="high",
    why="https://cloud.google.com/run/docs/securing/service-identity",
    fix="Set template.serviceAccount to an account that may do just what the service needs.",
)
def services_have_identities_of_their_own(service: Resource, _: Parameters) -> Iterator[str]:
    account = at(service, "template.serviceAccount")
    if off(account) or str(account).endswith("-compute@developer.gserviceaccount.com"):
        yield "runs as the project's default account, an editor of everything; expected template.serviceAccount"


@resource_policy(
    "services-under-own-key",
    "Services and endpoints without a cluster encrypt their images, volumes and answers with a key of one's own",
    types=(kinds.CLOUD_RUN, kinds.SAGEMAKER_CONFIGURATION),
    risk="medium",
    why="https://cloud.google.com/run/docs/securing/using-cmek",
    fix="Name the key: template.encryptionKey (Cloud Run), kmsKeyArn and asyncInferenceConfig.outputConfig.kmsKeyId "
    "(SageMaker).",
)
def services_under_own_key(resource: Resource, _: Parameters) -> Iterator[str]:
    if resource.type == kinds.CLOUD_RUN:
        if off(at(resource, "template.encryptionKey")):
            yield "is under Google's key; expected template.encryptionKey"
        return
    hosted = [one for one in each(resource, "productionVariants") if off(one.get("serverlessConfig"))]
    if hosted and off(at(resource, "kmsKeyArn")):
        yield "its instances' volumes are under Amazon's key; expected kmsKeyArn"
    waits = at(resource, "asyncInferenceConfig")
    if not off(waits) and off(at(waits, "outputConfig.kmsKeyId")):
        yield "its answers are under the bucket's default; expected asyncInferenceConfig.outputConfig.kmsKeyId"


@resource_policy(
    "topics-under-own-key",
    "Every topic encrypts with a key of one's own",
    types=(kinds.SNS_TOPIC,),
    risk="medium",
    why="https://docs.aws.amazon.com/sns/latest/dg/sns-server-side-encryption.html",
    fix="Set kmsMasterKeyId; whoever publishes must be allowed to use the key.",
)
def topics_under_own_key(topic: Resource, _: Parameters) -> Iterator[str]:
    if off(at(topic, "kmsMasterKeyId")) or at(topic, "kmsMasterKeyId") == "alias/aws/sns":
        yield "is under Amazon's key; expected kmsMasterKeyId"


@stack_policy(
    "endpoints-are-isolated",
    "The container of an endpoint with instances is in private subnets, and reaches nothing from there",
    risk="high",
    why="https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html",
    fix="Set the model's enableNetworkIsolation and vpcConfig. SageMaker brings its files and the requests in.",
)
def endpoints_are_isolated(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    # A serverless endpoint can be neither isolated nor in a network.
    hosted = {
        model.urn
        for configuration in managed(inventory, kinds.SAGEMAKER_CONFIGURATION)
        if any(off(variant.get("serverlessConfig")) for variant in each(configuration, "productionVariants"))
        for model in inventory.references(configuration, "productionVariants", kinds.SAGEMAKER_MODEL)
    }
    for model in managed(inventory, kinds.SAGEMAKER_MODEL):
        if model.urn not in hosted:
            continue
        if off(at(model, "enableNetworkIsolation")):
            yield Violation("its container reaches the internet; expected enableNetworkIsolation", model)
        if off(at(model, "vpcConfig")):
            yield Violation("its instances are in a network of Amazon's; expected vpcConfig", model)


@resource_policy(
    "service-images-by-digest",
    "Every image of a service without a cluster is named by its digest, so that what was tested is what runs",
    types=(kinds.CLOUD_RUN, kinds.SAGEMAKER_MODEL),
    risk="high",
    why="https://cloud.google.com/run/docs/deploying#service",
    fix="Write <registry>/<name>@sha256:<digest>, as the registry tells it.",
)
def service_images_by_digest(resource: Resource, _: Parameters) -> Iterator[Violation]:
    if resource.type == kinds.CLOUD_RUN:
        containers = each(resource, "template.containers")
    else:
        containers = [*each(resource, "primaryContainer"), *each(resource, "containers")]
    for container in containers:
        image = container.get("image")
        # What a revision or a model package brings along is named elsewhere.
        if (
            isinstance(image, str)
            and image
            and not unclear(image)
            and image != UNKNOWN
            and not _DIGEST.fullmatch(image)
        ):
            message = f"runs {image}; expected a digest: whoever may push can put another image under a tag"
            yield Violation(message, resource, subject=image)
