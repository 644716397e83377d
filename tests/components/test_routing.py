"""RegionalEndpoint and GlobalLoadBalancer: one way in, and one setting that takes a region out of it everywhere."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.routing import GlobalLoadBalancer, RegionalEndpoint, neg_annotation, neg_name
from components.routing.dns import NEAREST_AWS_REGIONS, latency_records, weighted_records
from components.routing.firewall import BODY_RULES
from components.routing.front import FrontDoorRegion
from planner.plan import UNKNOWN, Plan
from tests.support import plan_of

RECORD = "aws:route53/record:Record"
GROUP = "aws:globalaccelerator/endpointGroup:EndpointGroup"
BACKENDS = "gcp:compute/backendService:BackendService"
DOMAIN = "inference.example.com"


def load_balancer(region: str) -> str:
    return f"arn:aws:elasticloadbalancing:{region}:1:loadbalancer/app/{region}/1"


def region(key: str, **more: Any) -> dict[str, Any]:
    cloud, name = key.split(":")
    groups = [f"https://www.googleapis.com/compute/v1/{name}-{zone}" for zone in "abc"]
    return {"region": key, "targets": [load_balancer(name)] if cloud == "aws" else groups, **more}


def front(regions: Sequence[dict[str, Any]], **more: Any) -> Callable[[], None]:
    def program() -> None:
        args = {"domain": DOMAIN, "hosted_zone_id": "Z1", "regions": list(regions), "tags": {"owner": "ml"}, **more}
        made = GlobalLoadBalancer("front", args)  # type: ignore[arg-type]
        for output in ("domain_name", "addresses", "accelerator_arn"):
            pulumi.export(output, getattr(made, output))

    return program


ALL = [region("aws:us-east-1"), region("aws:eu-west-1"), region("gcp:us-central1"), region("gcp:asia-northeast1")]


def drained(key: str) -> list[dict[str, Any]]:
    return [{**one, "drained": True} if one["region"] == key else one for one in ALL]


def domain_records(plan: Plan) -> dict[str, Mapping[str, Any]]:
    return {r.inputs["setIdentifier"]: r.inputs for r in plan.of_type(RECORD) if r.inputs.get("setIdentifier")}


def weights(plan: Plan) -> dict[str, int]:
    return {
        g.inputs["endpointGroupRegion"]: g.inputs["endpointConfigurations"][0]["weight"] for g in plan.of_type(GROUP)
    }


def scalers(plan: Plan) -> dict[str, set[float]]:
    found: dict[str, set[float]] = {}
    for backend in plan.one(BACKENDS).inputs["backends"]:
        found.setdefault(backend["group"].rsplit("/", 1)[1].rsplit("-", 1)[0], set()).add(backend["capacityScaler"])
    return found


# ---- draining: one setting, all layers


@pytest.mark.parametrize("policy", ["latency", "weighted"])
@pytest.mark.parametrize("key", [one["region"] for one in ALL])
def test_draining_a_region_reaches_every_layer_and_no_other_region(key: str, policy: str) -> None:
    before = plan_of(front(ALL, routing_policy=policy))
    after = plan_of(front(drained(key), routing_policy=policy))
    cloud, name = key.split(":")

    records = domain_records(before)
    assert set(records) == {one["region"] for one in ALL}
    del records[key]
    assert domain_records(after) == records, "the others' records must stay as they were"

    expected_weights = {"us-east-1": 100, "eu-west-1": 100}
    expected_scalers = {"us-central1": {1.0}, "asia-northeast1": {1.0}}
    assert (weights(before), scalers(before)) == (expected_weights, expected_scalers)
    if cloud == "aws":
        expected_weights[name] = 0
    else:
        expected_scalers[name] = {0.0}
    assert (weights(after), scalers(after)) == (expected_weights, expected_scalers)
    # A dial of 0 would still let failover traffic in: it is not what drains.
    assert {g.inputs["trafficDialPercentage"] for g in after.of_type(GROUP)} == {100}


def test_draining_all_regions_of_one_cloud_leaves_only_the_others_records() -> None:
    both = [{**one, "drained": True} if one["region"].startswith("gcp:") else one for one in ALL]
    plan = plan_of(front(both))
    assert set(domain_records(plan)) == {"aws:us-east-1", "aws:eu-west-1"}
    assert scalers(plan) == {"us-central1": {0.0}, "asia-northeast1": {0.0}}


def test_draining_in_a_single_cloud_keeps_its_plain_record() -> None:
    plan = plan_of(front([region("aws:us-east-1", drained=True), region("aws:eu-west-1")]))
    assert weights(plan) == {"us-east-1": 0, "eu-west-1": 100}
    assert plan.one(RECORD).inputs["name"] == DOMAIN


# ---- the two entries


def test_accelerator_has_a_group_for_each_region_and_https_alone() -> None:
    plan = plan_of(front([region("aws:us-east-1", dial=25), region("aws:eu-west-1", weight=7)], protect=True))
    listener = plan.one("aws:globalaccelerator/listener:Listener")
    assert listener.inputs["portRanges"] == [{"fromPort": 443, "toPort": 443}]
    groups = {g.inputs["endpointGroupRegion"]: g.inputs for g in plan.of_type(GROUP)}
    assert groups["us-east-1"]["trafficDialPercentage"] == 25
    assert groups["us-east-1"]["healthCheckPath"] == "/v2/health/ready"
    (endpoint,) = groups["eu-west-1"]["endpointConfigurations"]
    assert endpoint == {"endpointId": load_balancer("eu-west-1"), "weight": 7, "clientIpPreservationEnabled": True}
    assert plan.one("aws:globalaccelerator/accelerator:Accelerator").protect
    assert plan.outputs["accelerator_arn"] == UNKNOWN


def test_google_load_balancer_is_one_backend_service_with_firewall_tls_and_redirect() -> None:
    plan = plan_of(front([region("gcp:us-central1", dial=50), region("gcp:europe-west4")]), simulate_up=True)
    assert scalers(plan) == {"us-central1": {0.5}, "europe-west4": {1.0}}
    service = plan.one(BACKENDS).inputs
    assert service["loadBalancingScheme"] == "EXTERNAL_MANAGED"
    assert service["securityPolicy"] == plan.one("gcp:compute/securityPolicy:SecurityPolicy").id
    assert service["logConfig"]["enable"] is True
    check = plan.one("gcp:compute/healthCheck:HealthCheck").inputs["httpHealthCheck"]
    assert check == {"portSpecification": "USE_SERVING_PORT", "requestPath": "/v2/health/ready"}
    tls = plan.one("gcp:compute/sSLPolicy:SSLPolicy").inputs
    assert (tls["profile"], tls["minTlsVersion"]) == ("RESTRICTED", "TLS_1_2")
    proxy = plan.one("gcp:compute/targetHttpsProxy:TargetHttpsProxy").inputs
    assert proxy["certificateMap"].startswith("//certificatemanager.googleapis.com/projects/")
    certificate = plan.one("gcp:certificatemanager/certificate:Certificate").inputs["managed"]
    assert certificate["domains"] == [DOMAIN]
    rules = {
        r.inputs["portRange"]: r.inputs for r in plan.of_type("gcp:compute/globalForwardingRule:GlobalForwardingRule")
    }
    assert set(rules) == {"443", "80"}
    assert rules["443"]["ipAddress"] == rules["80"]["ipAddress"]
    (redirect,) = [m.inputs for m in plan.of_type("gcp:compute/uRLMap:URLMap") if "defaultUrlRedirect" in m.inputs]
    assert redirect["defaultUrlRedirect"]["httpsRedirect"] is True
    assert "defaultService" not in redirect


def test_google_firewall_throttles_each_client_and_lets_the_rest_in_last() -> None:
    plan = plan_of(front([region("gcp:us-central1")], requests_per_client=600))
    rules = sorted(plan.one("gcp:compute/securityPolicy:SecurityPolicy").inputs["rules"], key=lambda r: r["priority"])
    assert (rules[-1]["action"], rules[-1]["priority"]) == ("allow", 2147483647)
    throttle = rules[-2]["rateLimitOptions"]
    assert throttle["rateLimitThreshold"] == {"count": 600, "intervalSec": 300}
    assert throttle["enforceOnKey"] == "IP"
    assert {rule["action"] for rule in rules[:-2]} == {"deny(403)"}


# ---- DNS


def test_two_clouds_have_latency_records_with_a_check_of_the_server_itself_for_each() -> None:
    plan = plan_of(front(ALL), simulate_up=True)
    records = domain_records(plan)
    where = {key: record["latencyRoutingPolicies"][0]["region"] for key, record in records.items()}
    assert where == {
        "aws:us-east-1": "us-east-1",
        "aws:eu-west-1": "eu-west-1",
        "gcp:us-central1": "us-east-2",
        "gcp:asia-northeast1": "ap-northeast-1",
    }
    checks = {check.id: check for check in plan.of_type("aws:route53/healthCheck:HealthCheck")}
    assert len(checks) == 2
    for check in checks.values():
        assert (check.inputs["type"], check.inputs["port"]) == ("HTTPS", 443)
        assert check.inputs["resourcePath"] == "/v2/health/ready"
        assert check.inputs["enableSni"] is True
    for key, record in records.items():
        asked = checks[record["healthCheckId"]].inputs
        assert (record["name"], record["type"]) == (DOMAIN, "A")
        if key.startswith("aws:"):
            assert asked["fqdn"] == record["aliases"][0]["name"]
        else:
            assert (asked["fqdn"], asked["ipAddress"]) == (DOMAIN, record["records"][0])
            assert record["ttl"] == 60


def test_weighted_records_carry_the_regions_weights() -> None:
    plan = plan_of(
        front([region("aws:us-east-1", weight=30), region("gcp:us-east4", weight=70)], routing_policy="weighted")
    )
    shares = {key: r["weightedRoutingPolicies"][0]["weight"] for key, r in domain_records(plan).items()}
    assert shares == {"aws:us-east-1": 30, "gcp:us-east4": 70}


def test_one_cloud_has_a_plain_record_and_no_checks() -> None:
    only_aws = plan_of(front([region("aws:us-east-1")]), simulate_up=True)
    accelerator = only_aws.one("aws:globalaccelerator/accelerator:Accelerator")
    (alias,) = only_aws.one(RECORD).inputs["aliases"]
    assert alias["name"] == accelerator.outputs["dnsName"]
    only_gcp = plan_of(front([region("gcp:us-central1")]), simulate_up=True)
    (record,) = [r.inputs for r in only_gcp.of_type(RECORD) if r.inputs["type"] == "A"]
    assert record["records"] == only_gcp.outputs["addresses"]
    assert only_gcp.outputs["accelerator_arn"] == ""
    for plan in (only_aws, only_gcp):
        assert not plan.of_type("aws:route53/healthCheck:HealthCheck")
        assert not domain_records(plan)


def a_region(key: str, **more: Any) -> FrontDoorRegion:
    cloud, name = key.split(":")
    return FrontDoorRegion(cloud, name, [], more.get("weight", 100), 100.0, more.get("drained", False))


REGIONS = st.lists(
    st.builds(
        a_region,
        st.sampled_from(
            ["aws:us-east-1", "aws:us-east-2", "aws:eu-central-1", *(f"gcp:{name}" for name in NEAREST_AWS_REGIONS)]
        ),
        drained=st.booleans(),
    ),
    unique_by=lambda one: one.key,
    max_size=5,
)


@given(REGIONS)
def test_latency_records_never_share_an_aws_region(regions: list[FrontDoorRegion]) -> None:
    try:
        records = latency_records(regions, "front")
    except ValueError:
        assume(False)  # no AWS region left: among the wrong arguments below
    assert len({record.latency_region for record in records}) == len(records)
    assert [record.key for record in records] == [one.key for one in regions if not one.drained]
    for record in records:
        if record.cloud == "aws":
            assert record.latency_region == record.key.removeprefix("aws:")
    assert [record.key for record in weighted_records(regions)] == [record.key for record in records]


def test_a_gcp_region_beside_an_aws_region_gets_the_next_nearest() -> None:
    records = latency_records([a_region("gcp:us-east4"), a_region("aws:us-east-1")], "front")
    assert {record.key: record.latency_region for record in records} == {
        "gcp:us-east4": "us-east-2",
        "aws:us-east-1": "us-east-1",
    }


# ---- one region's endpoint


def endpoint(cloud: str, **more: Any) -> Callable[[], None]:
    def program() -> None:
        cluster = kubernetes.Provider("cluster", kubeconfig="{}")
        service = kubernetes.core.v1.Service(
            "triton",
            metadata={
                "name": "triton",
                "namespace": "serving",
                "annotations": neg_annotation(neg_name("serving", "triton"), 8000),
            },
            spec={"ports": [{"port": 8000}]},
            opts=pulumi.ResourceOptions(provider=cluster),
        )
        args: dict[str, Any] = {
            "cloud": cloud,
            "region": "eu-west-1" if cloud == "aws" else "europe-west4",
            "network_id": "vpc-1",
            "private_subnet_ids": ["subnet-1", "subnet-2", "subnet-3"],
            "node_security_group_id": "sg-nodes",
            "zones": ["europe-west4-a", "europe-west4-b", "europe-west4-c"],
            "namespace": "serving",
            "service": "triton",
            "port": 8000.0,  # as a component package hands numbers over
            "certificate_domain": DOMAIN,
            "hosted_zone_id": "Z1",
            "tags": {"owner": "ml"},
            **more,
        }
        made = RegionalEndpoint(
            "endpoint",
            args,  # type: ignore[arg-type]
            pulumi.ResourceOptions(providers=[cluster], depends_on=[service]),
        )
        pulumi.export("targets", made.targets)
        pulumi.export("health_target", made.health_target)
        if cloud == "gcp":
            GlobalLoadBalancer(
                "front",
                {
                    "domain": DOMAIN,
                    "hosted_zone_id": "Z1",
                    "regions": [{"region": "gcp:europe-west4", "targets": made.targets}],
                },
            )

    return program


@pytest.fixture(scope="module")
def aws_endpoint() -> Plan:
    return plan_of(endpoint("aws", protect=True, log_bucket="logs"), simulate_up=True)


def test_load_balancer_is_private_protected_logged_and_strict(aws_endpoint: Plan) -> None:
    balancer = aws_endpoint.one("aws:lb/loadBalancer:LoadBalancer")
    assert balancer.inputs["internal"] is True
    assert balancer.inputs["dropInvalidHeaderFields"] is True
    assert balancer.inputs["enableDeletionProtection"] is True
    assert balancer.protect
    assert balancer.inputs["accessLogs"] == {"bucket": "logs", "prefix": "endpoint", "enabled": True}
    assert len(balancer.inputs["name"]) <= 32
    listener = aws_endpoint.one("aws:lb/listener:Listener").inputs
    assert (listener["port"], listener["protocol"]) == (443, "HTTPS")
    assert listener["sslPolicy"].startswith("ELBSecurityPolicy-TLS13-")
    assert aws_endpoint.outputs["targets"] == [balancer.outputs["arn"]]


def test_without_a_bucket_there_are_no_access_logs_and_by_default_no_protection() -> None:
    balancer = plan_of(endpoint("aws")).one("aws:lb/loadBalancer:LoadBalancer")
    assert "accessLogs" not in balancer.inputs
    assert balancer.inputs["enableDeletionProtection"] is False
    assert not balancer.protect


def test_certificate_is_validated_in_the_region_and_its_record_outlives_it(aws_endpoint: Plan) -> None:
    certificate = aws_endpoint.one("aws:acm/certificate:Certificate")
    assert certificate.inputs["region"] == "eu-west-1"
    assert (certificate.inputs["domainName"], certificate.inputs["validationMethod"]) == (DOMAIN, "DNS")
    record = aws_endpoint.one(RECORD)
    assert record.retain_on_delete
    assert record.inputs["allowOverwrite"] is True
    validation = aws_endpoint.one("aws:acm/certificateValidation:CertificateValidation")
    listener = aws_endpoint.one("aws:lb/listener:Listener")
    assert validation.urn in listener.dependencies


def test_firewall_is_attached_and_does_not_block_prompts(aws_endpoint: Plan) -> None:
    association = aws_endpoint.one("aws:wafv2/webAclAssociation:WebAclAssociation").inputs
    assert association["resourceArn"] == aws_endpoint.one("aws:lb/loadBalancer:LoadBalancer").outputs["arn"]
    rules = {rule["name"]: rule for rule in aws_endpoint.one("aws:wafv2/webAcl:WebAcl").inputs["rules"]}
    common = rules["AWSManagedRulesCommonRuleSet"]["statement"]["managedRuleGroupStatement"]
    assert {o["name"] for o in common["ruleActionOverrides"] if "count" in o["actionToUse"]} == set(BODY_RULES)
    rate = rules["one-clients-share"]["statement"]["rateBasedStatement"]
    assert (rate["limit"], rate["aggregateKeyType"]) == (30_000, "IP")
    priorities = [rule["priority"] for rule in rules.values()]
    assert len(set(priorities)) == len(priorities)


def test_pods_are_bound_to_the_target_group_after_the_service(aws_endpoint: Plan) -> None:
    targets = aws_endpoint.one("aws:lb/targetGroup:TargetGroup")
    assert targets.inputs["targetType"] == "ip"
    assert targets.inputs["healthCheck"]["path"] == "/v2/health/ready"
    binding = aws_endpoint.one("kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding")
    assert binding.inputs["spec"] == {
        "serviceRef": {"name": "triton", "port": 8000},
        "targetGroupARN": targets.outputs["arn"],
        "targetType": "ip",
    }
    waits_for = {aws_endpoint.by_urn[urn].type for urn in binding.dependencies}
    assert {"kubernetes:core/v1:Service", "aws:lb/listener:Listener"} <= waits_for
    assert "cluster" in binding.provider


def test_the_server_is_reachable_from_the_load_balancer_alone(aws_endpoint: Plan) -> None:
    group = aws_endpoint.one("aws:ec2/securityGroup:SecurityGroup")
    rules = aws_endpoint.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    (nodes,) = [r.inputs for r in rules if r.inputs["securityGroupId"] == "sg-nodes"]
    assert (nodes["referencedSecurityGroupId"], nodes["fromPort"], nodes["toPort"]) == (group.id, 8000, 8000)
    (egress,) = aws_endpoint.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    assert egress.inputs["referencedSecurityGroupId"] == "sg-nodes"


def test_gcp_targets_are_the_groups_that_the_annotation_names_and_come_after_the_service() -> None:
    plan = plan_of(endpoint("gcp"))
    service = plan.one("kubernetes:core/v1:Service")
    asked = json.loads(service.inputs["metadata"]["annotations"]["cloud.google.com/neg"])
    name = asked["exposed_ports"]["8000"]["name"]
    targets = plan.outputs["targets"]
    assert len(targets) == 3
    for zone, link in zip("abc", targets, strict=True):
        assert link.endswith(f"/zones/europe-west4-{zone}/networkEndpointGroups/{name}")
    backends = plan.one(BACKENDS)
    assert [backend["group"] for backend in backends.inputs["backends"]] == targets
    assert service.urn in backends.dependencies


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_both_clouds_answer_every_output(cloud: str) -> None:
    outputs = plan_of(endpoint(cloud), simulate_up=True).outputs
    assert all(isinstance(target, str) for target in outputs["targets"])
    assert outputs["targets"]
    assert outputs["health_target"] == "HTTP:8000/v2/health/ready"


# ---- wrong arguments


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (front([]), "GlobalLoadBalancer 'front': regions: expected at least one"),
        (front([region("aws:us-east-1", drained=True)]), "all are drained .aws:us-east-1.; at least one must serve"),
        (front([region("aws:us-east-1")] * 2), "regions: listed twice: aws:us-east-1"),
        (front([{"region": "us-east-1", "targets": []}]), "expected a cloud and its region.*got 'us-east-1'"),
        (
            front([region("aws:us-east-1", weight=0)]),
            "weight: expected 1 to 255, got 0; to take a region out, set drained",
        ),
        (front([region("aws:us-east-1", weight=256)]), "weight: expected 1 to 255, got 256"),
        (front([region("aws:us-east-1", dial=101)]), "dial: expected 0 to 100 percent, got 101"),
        (front([region("gcp:us-east4", dial=5)]), "gcp:us-east4: dial: expected 10 to 100 percent, got 5"),
        (front(ALL, routing_policy="random"), "routing_policy: expected 'latency' or 'weighted', got 'random'"),
        (front([*ALL, region("gcp:moon-1")]), "gcp:moon-1: no nearest AWS region known"),
        (front([region("aws:sa-east-1"), region("gcp:southamerica-east1")]), r"record: sa-east-1 \(aws:sa-east-1\)"),
        (endpoint("azure"), "RegionalEndpoint 'endpoint': cloud: expected 'aws' or 'gcp', got 'azure'"),
        (endpoint("aws", port=0), "port: expected 1 to 65535, got 0"),
        (endpoint("aws", health_check_path="ready"), "health_check_path: expected a path such as .* got 'ready'"),
        (endpoint("gcp", service="s" * 63), "network endpoint group .* expected up to 63"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], None], complaint: str) -> None:
    seen = []

    def program() -> None:
        with pytest.raises(ValueError, match=complaint) as raised:
            make()
        seen.append(str(raised.value))

    plan_of(program, check=False)
    assert seen, "the program did not run"
