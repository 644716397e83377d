"""Networks, identities, the front door and inference, feature by feature and cloud by cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.components.parity import Feature, NotOffered, Offered, elsewhere, protected, values

SUBNET, FIREWALL = "gcp:compute/subnetwork:", "gcp:compute/firewall:"
GROUP, BACKENDS, RECORD = "aws:globalaccelerator/endpointGroup:", "gcp:compute/backendService:", "aws:route53/record:"
ACL, POLICY = "aws:wafv2/webAcl:", "gcp:compute/securityPolicy:"
BOUND, ROLE = "gcp:storage/bucketIAMMember:", "aws:iam/rolePolicy:"
AWS_BUDGET, GCP_BUDGET = "aws:budgets/budget:", "gcp:billing/budget:"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def of(component: str) -> Callable[..., Feature]:
    def feature(title: str, arguments: str, aws: Any, gcp: Any, **more: Any) -> Feature:
        return Feature(component, title, tuple(arguments.split()), aws, gcp, **more)

    return feature


network, identity, endpoint = of("RegionalNetwork"), of("WorkloadIdentity"), of("RegionalEndpoint")
front, inference, budget = of("GlobalLoadBalancer"), of("TritonInference"), of("BudgetAlarm")


def regions(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Change the first region behind the front door, and have another cloud's beside it."""
    other = {"aws:us-east-1": "gcp:us-central1", "gcp:europe-west4": "aws:us-east-1"}

    def change(args: dict[str, Any]) -> dict[str, Any]:
        first = args["regions"][0]
        beside = {"region": other[first["region"]], "targets": first["targets"]}
        return {**args, "regions": [{**first, **changes}, beside]}

    return change


def accounts(part: str) -> Callable[[Any], bool]:
    return lambda plan: any(part in policy for policy in values(plan, ROLE, "policy"))


FEATURES = [
    budget(
        "Somebody hears of it before the month's money is spent",
        "usd_per_month email",
        Offered(
            "budget of the account that mails",
            lambda p: "ml-platform@example.com" in values(p, AWS_BUDGET, "notifications.subscriberEmailAddresses"),
        ),
        Offered(
            "budget of the project and a notification channel",
            lambda p: values(p, GCP_BUDGET, "allUpdatesRule.monitoringNotificationChannels") != [],
        ),
    ),
    budget(
        "Whoever pays for several projects is told apart",
        "billing_account",
        NotOffered(
            "an account pays for itself",
            lambda args: {**args, "billing_account": "01AB23-45CD67-89EF01"},
            "expected none on AWS",
        ),
        Offered(
            "budget on the billing account, of one project",
            lambda p: values(p, GCP_BUDGET, "budgetFilter.projects") != [],
        ),
    ),
    network(
        "Machines without public addresses, in three zones",
        "zones",
        Offered(
            "three private subnets",
            lambda p: (
                len(values(p, "aws:ec2/subnet:", name="-private-us-east-1b")) == 1
                and set(values(p, "aws:ec2/subnet:", "mapPublicIpOnLaunch")) == {False}
            ),
        ),
        Offered("one regional subnet", lambda p: values(p, SUBNET, "privateIpGoogleAccess", name="sample") == [True]),
    ),
    network(
        "Pods outside of the routable network",
        "cidr",
        Offered(
            "pod subnets in 100.64.0.0/10",
            lambda p: values(p, "aws:ec2/vpcIpv4CidrBlockAssociation:", "cidrBlock") == ["100.64.0.0/16"],
        ),
        Offered(
            "secondary range in 100.64.0.0/10",
            lambda p: "100.64.0.0/14" in values(p, SUBNET, "secondaryIpRanges.ipCidrRange", name="sample"),
        ),
    ),
    network(
        "A way out that survives the loss of a zone",
        "nat_per_zone",
        Offered("a NAT gateway in each zone", lambda p: len(values(p, "aws:ec2/natGateway:")) == 3),
        Offered("Cloud NAT spans the zones anyway", lambda p: len(values(p, "gcp:compute/routerNat:")) == 1),
    ),
    network(
        "Cloud services without the internet",
        "",
        Offered(
            "VPC endpoints",
            lambda p: {"Gateway", "Interface"} == set(values(p, "aws:ec2/vpcEndpoint:", "vpcEndpointType")),
        ),
        Offered("Private Google Access", lambda p: True in values(p, SUBNET, "privateIpGoogleAccess", name="sample")),
    ),
    network(
        "Nothing comes in by default",
        "",
        Offered(
            "default security group without rules",
            lambda p: (
                len(values(p, "aws:ec2/defaultSecurityGroup:")) == 1
                and values(p, "aws:ec2/defaultSecurityGroup:", "ingress") == []
            ),
        ),
        Offered("deny rule, logged", lambda p: values(p, FIREWALL, "denies.protocol", name="sample-deny") == ["all"]),
    ),
    network(
        "Flow logs, kept for a while",
        "flow_log_retention_days",
        Offered("CloudWatch, own key", lambda p: values(p, "aws:cloudwatch/logGroup:", "retentionInDays") == [14]),
        Offered(
            "log bucket and sink", lambda p: values(p, "gcp:logging/projectBucketConfig:", "retentionDays") == [14]
        ),
    ),
    network(
        "Flow logs that nobody makes unreadable",
        "protect",
        Offered("protected key", lambda p: protected(p, "aws:kms/key:Key")),
        NotOffered("logs are under Google's key"),
    ),
    network(
        "Networks for GPU NICs",
        "gpudirect_networks gpudirect_fabric",
        NotOffered(
            "EFA shares the private subnets; it has a security group instead",
            lambda args: {**args, "gpudirect_networks": 8},
            "gpudirect_networks",
        ),
        Offered("eight more VPC networks", lambda p: len(values(p, "gcp:compute/network:")) == 9),
    ),
    network(
        "A RoCE network for GPU NICs",
        "gpudirect_fabric gpudirect_zone",
        NotOffered(
            "EFA shares the private subnets",
            lambda args: {**args, "gpudirect_networks": 9, "gpudirect_fabric": "rdma"},
            "gpudirect_networks",
        ),
        Offered(
            "RDMA network profile of one zone",
            lambda p: any("roce" in one for one in values(p, "gcp:compute/network:", "networkProfile")),
        ),
        change=lambda args: {
            **args,
            "gpudirect_networks": 9,
            "gpudirect_fabric": "rdma",
            "gpudirect_zone": "europe-west4-b",
        },
    ),
    # ---- identities
    identity(
        "Pods act as an account that other services of the cloud know",
        "google_account",
        NotOffered(
            "every service knows the role", lambda args: {**args, "google_account": True}, "google_account is True"
        ),
        Offered(
            "Google service account",
            lambda p: values(p, "gcp:serviceaccount/iAMMember:", "role") == ["roles/iam.workloadIdentityUser"],
        ),
        change=lambda args: {**args, "google_account": True},
    ),
    identity(
        "Read part of a bucket",
        "buckets.bucket buckets.prefix buckets.key",
        Offered("inline policy", accounts("sim-models/datasets/*")),
        Offered(
            "IAM member with a condition",
            lambda p: (
                "roles/storage.objectViewer" in values(p, BOUND, "role", name="-0")
                and "datasets/" in values(p, BOUND, "condition.expression", name="-0")[0]
            ),
        ),
    ),
    identity(
        "Write part of a bucket",
        "buckets.write",
        Offered("inline policy", accounts("s3:PutObject")),
        Offered("object user", lambda p: values(p, BOUND, "role", name="-1") == ["roles/storage.objectUser"]),
    ),
    identity(
        "Further rights, in the cloud's own terms",
        "aws_policy_json gcp_project_roles",
        Offered("`aws_policy_json`", lambda p: len(values(p, ROLE)) == 2),
        Offered(
            "`gcp_project_roles`",
            lambda p: values(p, "gcp:projects/iAMMember:", "role") == ["roles/monitoring.metricWriter"],
        ),
    ),
    # ---- the region's endpoint
    endpoint(
        "Requests reach pods directly",
        "port health_check_path",
        Offered("target group binding", lambda p: values(p, "aws:lb/targetGroup:", "targetType") == ["ip"]),
        Offered(
            "network endpoint groups",
            lambda p: "/networkEndpointGroups/" in str(p.one("aicloud:index:RegionalEndpoint").outputs["targets"]),
        ),
    ),
    endpoint(
        "Firewall against known attacks, and a client's share",
        "requests_per_client",
        Offered(
            "AWS WAF on the load balancer",
            lambda p: (
                1000 in values(p, ACL, "rules.statement.rateBasedStatement.limit")
                and "AWSManagedRulesKnownBadInputsRuleSet" in values(p, ACL, "rules.name")
            ),
        ),
        NotOffered("at the front door", lambda args: {**args, "requests_per_client": 1000}, "requests_per_client"),
    ),
    endpoint(
        "Access logs",
        "log_bucket",
        Offered("into a bucket", lambda p: values(p, "aws:lb/loadBalancer:", "accessLogs.enabled") == [True]),
        NotOffered("in Cloud Logging", lambda args: {**args, "log_bucket": "logs"}, "log_bucket"),
    ),
    endpoint(
        "Protected load balancer",
        "protect",
        Offered("deletion protection", lambda p: protected(p, "aws:lb/loadBalancer:LoadBalancer")),
        Offered(
            "nothing of its own to protect",
            lambda p: len(p) > 0 and not [r for r in p if r.package == "gcp" and not r.is_provider],
        ),
    ),
    # ---- the front door
    front(
        "Anycast addresses that stay",
        "protect",
        Offered("Global Accelerator", lambda p: protected(p, "aws:globalaccelerator/accelerator:Accelerator")),
        Offered("global address", lambda p: protected(p, "gcp:compute/globalAddress:GlobalAddress")),
    ),
    front(
        "Regions fail over by asking the inference server",
        "health_check_path",
        Offered("endpoint group", lambda p: set(values(p, GROUP, "healthCheckPath")) == {"/v2/health/ready"}),
        Offered(
            "health check",
            lambda p: values(p, "gcp:compute/healthCheck:", "httpHealthCheck.requestPath") == ["/v2/health/ready"],
        ),
    ),
    front(
        "The nearer cloud answers",
        "routing_policy",
        *[Offered("latency records", lambda p: len(values(p, RECORD, "latencyRoutingPolicies.region")) == 2)] * 2,
        change=regions(),
    ),
    front(
        "Shares between regions",
        "routing_policy regions.weight",
        *[Offered("weighted records", lambda p: 7 in values(p, RECORD, "weightedRoutingPolicies.weight"))] * 2,
        change=lambda args: regions(weight=7)({**args, "routing_policy": "weighted"}),
    ),
    front(
        "A region that takes part of what is near it",
        "regions.dial",
        Offered("traffic dial", lambda p: 30 in values(p, GROUP, "trafficDialPercentage")),
        Offered("capacity scaler", lambda p: set(values(p, BACKENDS, "backends.capacityScaler")) == {0.3}),
        change=regions(dial=30.0),
    ),
    front(
        "A region that only takes over for others",
        "regions.dial",
        Offered("traffic dial 0", lambda p: 0 in values(p, GROUP, "trafficDialPercentage")),
        NotOffered("a backend's capacity is none, or a tenth at least", regions(dial=0.0), "dial"),
        change=regions(dial=0.0),
    ),
    front(
        "A region that is drained",
        "regions.drained",
        Offered(
            "weight 0, no record",
            lambda p: (
                values(p, GROUP, "endpointConfigurations.weight") == [0]
                and values(p, RECORD, "setIdentifier") == ["gcp:us-central1"]
            ),
        ),
        Offered(
            "capacity 0, no record",
            lambda p: (
                set(values(p, BACKENDS, "backends.capacityScaler")) == {0}
                and values(p, RECORD, "setIdentifier") == ["aws:us-east-1"]
            ),
        ),
        change=regions(drained=True),
    ),
    front(
        "Firewall and a client's share",
        "requests_per_client",
        NotOffered(
            "AWS WAF, at each region's endpoint",
            lambda args: {**args, "requests_per_client": 2000},
            "requests_per_client",
        ),
        Offered(
            "Cloud Armor", lambda p: values(p, POLICY, "rules.rateLimitOptions.rateLimitThreshold.count") == [2000]
        ),
    ),
    front(
        "Requests spill over before pods are overrun",
        "requests_per_endpoint",
        NotOffered(
            "Global Accelerator goes by health alone",
            lambda args: {**args, "requests_per_endpoint": 40},
            "requests_per_endpoint",
        ),
        Offered("rate for each endpoint", lambda p: set(values(p, BACKENDS, "backends.maxRatePerEndpoint")) == {40}),
    ),
    front(
        "Access logs",
        "",
        elsewhere(
            "of the load balancer",
            "RegionalEndpoint",
            "aws",
            lambda p: values(p, "aws:lb/loadBalancer:", "accessLogs.enabled") == [True],
        ),
        Offered("Cloud Logging", lambda p: values(p, BACKENDS, "logConfig.enable") == [True]),
    ),
    # ---- inference
    inference(
        "Models copied, verified, then loaded",
        "models.name models.version repository_url repository_prefix bucket encryption_key load_bandwidth_gib_s"
        " device_bandwidth_gib_s",
        *[
            Offered(
                "init container to local disk",
                lambda p: (
                    "fetch" in values(p, DEPLOYMENT, "spec.template.spec.initContainers.args")
                    or "fetch" in values(p, DEPLOYMENT, "spec.template.spec.initContainers.command")
                ),
            )
        ]
        * 2,
    ),
    inference(
        "Pods may read their models and nothing else",
        "",
        Offered("role with one prefix", accounts("sim-models/models/*")),
        Offered("viewer with a condition", lambda p: "models/" in values(p, BOUND, "condition.expression")[0]),
    ),
    inference(
        "Nobody talks to pods but named networks",
        "client_cidrs monitoring_namespace",
        Offered(
            "network policies",
            lambda p: len(values(p, "kubernetes:networking.k8s.io/v1:NetworkPolicy")) == 2,
        ),
        Offered(
            "network policies, open to Google's load balancers",
            lambda p: (
                "35.191.0.0/16"
                in values(p, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "spec.ingress.from.ipBlock.cidr")
            ),
        ),
    ),
    inference(
        "Serving on accelerators of the cloud's own make",
        "accelerator gpus pods_per_gpu node_pool cpu memory_gib",
        NotOffered(
            "Triton's image serves on NVIDIA GPUs",
            lambda args: {**args, "accelerator": "trainium2", "gpus": 16, "region": "us-east-2"},
            "NVIDIA GPUs only",
        ),
        NotOffered(
            "Triton's image serves on NVIDIA GPUs",
            lambda args: {**args, "accelerator": "tpu-v5e"},
            "NVIDIA GPUs only",
        ),
    ),
]
