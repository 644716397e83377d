"""Slips in what is served without a cluster: opened up, let out, under nobody's key, and more than was granted."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.fault import Fault, State, the

SERVICE, MEMBER = "gcp:cloudrunv2/service:Service", "gcp:cloudrunv2/serviceIamMember:ServiceIamMember"
MODEL, CONFIGURATION = "aws:sagemaker/model:Model", "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
TOPIC, TARGET = "aws:sns/topic:Topic", "aws:appautoscaling/target:Target"


def _template(states: list[State]) -> dict[str, Any]:
    return the(states, SERVICE)["inputs"]["template"]


def requests_from_the_whole_internet(states: list[State]) -> None:
    the(states, SERVICE)["inputs"]["ingress"] = "INGRESS_TRAFFIC_ALL"


def a_service_for_everybody(states: list[State]) -> None:
    the(states, MEMBER)["inputs"]["member"] = "allUsers"


def a_service_that_asks_nobody(states: list[State]) -> None:
    the(states, SERVICE)["inputs"]["invokerIamDisabled"] = True


def a_service_as_an_editor(states: list[State]) -> None:
    del _template(states)["serviceAccount"]


def a_service_under_google_s_key(states: list[State]) -> None:
    del _template(states)["encryptionKey"]


def another_image_tomorrow(states: list[State]) -> None:
    container = _template(states)["containers"][0]
    container["image"] = container["image"].partition("@")[0] + ":main"


def more_gpus_of_cloud_run_than_granted(states: list[State]) -> None:
    _template(states)["scaling"]["maxInstanceCount"] = 30


def gpus_that_never_go(states: list[State]) -> None:
    _template(states)["scaling"] |= {"minInstanceCount": 12, "maxInstanceCount": 12}


def a_container_with_the_internet(states: list[State]) -> None:
    the(states, MODEL)["inputs"]["enableNetworkIsolation"] = False


def instances_in_a_network_of_amazon_s(states: list[State]) -> None:
    del the(states, MODEL)["inputs"]["vpcConfig"]


def answers_under_no_key(states: list[State]) -> None:
    del the(states, CONFIGURATION)["inputs"]["asyncInferenceConfig"]["outputConfig"]["kmsKeyId"]


def notices_under_no_key(states: list[State]) -> None:
    del the(states, TOPIC)["inputs"]["kmsMasterKeyId"]


def more_instances_than_granted(states: list[State]) -> None:
    the(states, TARGET)["inputs"]["maxCapacity"] = 4


def an_older_driver(states: list[State]) -> None:
    variant = the(states, CONFIGURATION)["inputs"]["productionVariants"][0]
    variant["inferenceAmiVersion"] = "al2-ami-sagemaker-inference-gpu-3-1"


def all_of_the_bucket_for_the_endpoint(states: list[State]) -> None:
    policy = the(states, "aws:iam/rolePolicy:RolePolicy", "embeddings-needs")
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy["inputs"]["policy"] = json.dumps({"Version": "2012-10-17", "Statement": [everything]})


FAULTS: tuple[Fault, ...] = tuple(
    Fault(mutate.__name__.replace("_", " "), environment, rule, at, mutate)
    for mutate, environment, rule, at in (
        (requests_from_the_whole_internet, "prod", "services-are-not-public", "europe-west4-moderation"),
        (a_service_for_everybody, "staging", "services-are-not-public", "us-central1-embeddings"),
        (a_service_that_asks_nobody, "prod", "services-are-not-public", "europe-west4-moderation"),
        (a_service_as_an_editor, "staging", "services-have-identities-of-their-own", "us-central1-embeddings"),
        (a_service_under_google_s_key, "prod", "services-under-own-key", "europe-west4-moderation"),
        (another_image_tomorrow, "staging", "service-images-by-digest", "us-central1-embeddings"),
        (more_gpus_of_cloud_run_than_granted, "prod", "quota-holds-maximum", "gcp:europe-west4"),
        (gpus_that_never_go, "staging", "budget-holds", ""),
        (a_container_with_the_internet, "dev", "endpoints-are-isolated", "us-east-1-embeddings"),
        (instances_in_a_network_of_amazon_s, "dev", "endpoints-are-isolated", "us-east-1-embeddings"),
        (answers_under_no_key, "dev", "services-under-own-key", "us-east-1-embeddings"),
        (notices_under_no_key, "dev", "topics-under-own-key", "us-east-1-embeddings"),
        (more_instances_than_granted, "dev", "quota-holds-maximum", "aws:us-east-1"),
        (an_older_driver, "dev", "driver-fits-cuda", "us-east-1-embeddings"),
        (all_of_the_bucket_for_the_endpoint, "dev", "no-wildcard-permissions", "us-east-1-embeddings"),
    )
)
