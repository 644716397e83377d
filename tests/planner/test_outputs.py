"""Made-up outputs have the formats that programs take apart, and are functions of their arguments."""

from __future__ import annotations

import base64
import re
import string
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.engine import outputs
from tests.support import plan_of

ACCOUNT = "123456789012"


def made(token: str, inputs: dict[str, Any] | None = None, region: str | None = "eu-west-1", name: str = "main") -> Any:
    return outputs.synthesize(token, name, f"urn:pulumi:dev::p::{token}::{name}", inputs or {}, region)


@pytest.mark.parametrize(
    ("token", "inputs", "id", "arn"),
    [
        ("aws:ec2/vpc:Vpc", {}, r"vpc-[0-9a-f]{17}", "arn:aws:ec2:eu-west-1:{a}:vpc/{id}"),
        ("aws:ec2/subnet:Subnet", {}, r"subnet-[0-9a-f]{17}", "arn:aws:ec2:eu-west-1:{a}:subnet/{id}"),
        (
            "aws:ec2/securityGroup:SecurityGroup",
            {},
            r"sg-[0-9a-f]{17}",
            "arn:aws:ec2:eu-west-1:{a}:security-group/{id}",
        ),
        ("aws:iam/role:Role", {"name": "r"}, "r", "arn:aws:iam::{a}:role/r"),
        ("aws:iam/role:Role", {"name": "r", "path": "/x/"}, "r", "arn:aws:iam::{a}:role/x/r"),
        ("aws:iam/policy:Policy", {"name": "p"}, f"arn:aws:iam::{ACCOUNT}:policy/p", "{id}"),
        ("aws:s3/bucket:Bucket", {"bucket": "b"}, "b", "arn:aws:s3:::b"),
        (
            "aws:kms/key:Key",
            {},
            r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}",
            "arn:aws:kms:eu-west-1:{a}:key/{id}",
        ),
        ("aws:eks/cluster:Cluster", {"name": "c"}, "c", "arn:aws:eks:eu-west-1:{a}:cluster/c"),
        (
            "aws:sqs/queue:Queue",
            {"name": "q"},
            f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/q",
            "arn:aws:sqs:eu-west-1:{a}:q",
        ),
        ("aws:cloudwatch/logGroup:LogGroup", {"name": "/a/b"}, "/a/b", "arn:aws:logs:eu-west-1:{a}:log-group:/a/b"),
        ("aws:dynamodb/table:Table", {"name": "t"}, "t", "arn:aws:dynamodb:eu-west-1:{a}:table/t"),
        ("aws:lambda/function:Function", {"name": "f"}, "f", "arn:aws:lambda:eu-west-1:{a}:function:f"),
        ("aws:ssm/parameter:Parameter", {"name": "/p/q"}, "/p/q", "arn:aws:ssm:eu-west-1:{a}:parameter/p/q"),
        ("aws:route53/zone:Zone", {"name": "x.org"}, r"Z[A-Z0-9]{20}", "arn:aws:route53:::hostedzone/{id}"),
        # not in the table: by convention
        ("aws:opensearch/domain:Domain", {"domainName": "d"}, "d", "arn:aws:opensearch:eu-west-1:{a}:domain/d"),
    ],
)
def test_aws_ids_and_arns(token: str, inputs: dict[str, Any], id: str, arn: str) -> None:
    found, out = made(token, inputs)
    assert re.fullmatch(id, found), found
    assert out["arn"] == arn.format(a=ACCOUNT, id=found)


def test_arns_know_their_partition() -> None:
    assert made("aws:ec2/vpc:Vpc", region="cn-north-1")[1]["arn"].startswith("arn:aws-cn:ec2:cn-north-1:")
    assert made("aws:s3/bucket:Bucket", {"bucket": "b"}, "us-gov-west-1")[1]["arn"] == "arn:aws-us-gov:s3:::b"


def test_eks_cluster() -> None:
    _, out = made("aws:eks/cluster:Cluster", {"name": "c", "vpcConfig": {"subnetIds": ["s"]}})
    assert re.fullmatch(r"https://[A-Z0-9]{32}\.gr7\.eu-west-1\.eks\.amazonaws\.com", out["endpoint"])
    issuer = out["identities"][0]["oidcs"][0]["issuer"]
    assert re.fullmatch(r"https://oidc\.eks\.eu-west-1\.amazonaws\.com/id/[A-Z0-9]{32}", issuer)
    assert issuer.rsplit("/", 1)[1] == out["endpoint"][8:40]
    pem = base64.b64decode(out["certificateAuthority"]["data"]).decode().splitlines()
    assert pem[0] == "-----BEGIN CERTIFICATE-----"
    assert pem[-1] == "-----END CERTIFICATE-----"
    base64.b64decode("".join(pem[1:-1]), validate=True)
    assert out["vpcConfig"]["subnetIds"] == ["s"]
    assert re.fullmatch(r"sg-[0-9a-f]{17}", out["vpcConfig"]["clusterSecurityGroupId"])


def test_load_balancer_listener_and_rule_hang_together() -> None:
    arn, out = made("aws:lb/loadBalancer:LoadBalancer", {"name": "front", "internal": True}, "us-east-1")
    assert re.fullmatch(rf"arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}:loadbalancer/app/front/[0-9a-f]{{16}}", arn)
    assert re.fullmatch(r"internal-front-\d+\.us-east-1\.elb\.amazonaws\.com", out["dnsName"])
    assert out["zoneId"] == "Z35SXDOTRQ7X7K"
    assert arn.endswith(out["arnSuffix"])
    listener, _ = made("aws:lb/listener:Listener", {"loadBalancerArn": arn}, "us-east-1")
    assert listener.startswith(arn.replace(":loadbalancer/", ":listener/") + "/")
    rule, _ = made("aws:lb/listenerRule:ListenerRule", {"listenerArn": listener}, "us-east-1")
    assert rule.startswith(listener.replace(":listener/", ":listener-rule/") + "/")
    network, out = made("aws:lb/loadBalancer:LoadBalancer", {"name": "n", "loadBalancerType": "network"}, "us-east-1")
    assert "/net/n/" in network
    assert out["dnsName"].endswith(".elb.us-east-1.amazonaws.com")


def test_a_wildcard_certificate_shares_the_record_of_its_name() -> None:
    names = {"domainName": "x.org", "subjectAlternativeNames": ["*.x.org", "y.org"]}
    options = made("aws:acm/certificate:Certificate", names)[1]["domainValidationOptions"]
    assert [option["domainName"] for option in options] == ["x.org", "*.x.org", "y.org"]
    assert options[0]["resourceRecordName"] == options[1]["resourceRecordName"] != options[2]["resourceRecordName"]
    for option in options:
        assert option["resourceRecordType"] == "CNAME"
        assert re.fullmatch(r"_[0-9a-f]{32}\.[xy]\.org\.", option["resourceRecordName"])
        assert re.fullmatch(r"_[0-9a-f]{32}\.\w{10}\.acm-validations\.aws\.", option["resourceRecordValue"])


def test_other_aws_doors_and_stores() -> None:
    arn, out = made("aws:globalaccelerator/accelerator:Accelerator", {"name": "g"})
    assert arn.startswith(f"arn:aws:globalaccelerator::{ACCOUNT}:accelerator/")
    assert len(out["ipSets"][0]["ipAddresses"]) == 2
    assert out["dnsName"].endswith(".awsglobalaccelerator.com")
    assert len(made("aws:route53/zone:Zone", {"name": "x.org"})[1]["nameServers"]) == 4
    repository = made("aws:ecr/repository:Repository", {"name": "team/app"})[1]["repositoryUrl"]
    assert repository == f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/team/app"
    out = made("aws:rds/instance:Instance", {"identifier": "db", "engine": "mysql"})[1]
    assert (out["port"], out["endpoint"]) == (3306, f"{out['address']}:3306")
    assert re.fullmatch(r"db\.[a-z0-9]{12}\.eu-west-1\.rds\.amazonaws\.com", out["address"])
    file_system, out = made("aws:fsx/lustreFileSystem:LustreFileSystem", {"subnetIds": "subnet-1"})
    assert out["dnsName"] == f"{file_system}.fsx.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("token", "inputs", "id"),
    [
        ("gcp:compute/network:Network", {"name": "n"}, "projects/sim-project/global/networks/n"),
        ("gcp:compute/subnetwork:Subnetwork", {"name": "s"}, "projects/sim-project/regions/europe-west4/subnetworks/s"),
        (
            "gcp:compute/instance:Instance",
            {"name": "i", "zone": "europe-west4-b"},
            "projects/sim-project/zones/europe-west4-b/instances/i",
        ),
        (
            "gcp:container/cluster:Cluster",
            {"name": "c", "location": "europe-west4"},
            "projects/sim-project/locations/europe-west4/clusters/c",
        ),
        ("gcp:storage/bucket:Bucket", {"name": "b"}, "b"),
        (
            "gcp:kms/keyRing:KeyRing",
            {"name": "k", "location": "global"},
            "projects/sim-project/locations/global/keyRings/k",
        ),
        (
            "gcp:kms/cryptoKey:CryptoKey",
            {"name": "k", "keyRing": "projects/p/locations/l/keyRings/r"},
            "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        ),
        ("gcp:secretmanager/secret:Secret", {"secretId": "s", "project": "other"}, "projects/other/secrets/s"),
        (
            "gcp:projects/iAMMember:IAMMember",
            {"project": "p", "role": "roles/x", "member": "user:u"},
            "p/roles/x/user:u",
        ),
    ],
)
def test_gcp_ids(token: str, inputs: dict[str, Any], id: str) -> None:
    assert made(token, inputs, "europe-west4")[0] == id


def test_certificates_of_google_are_global_unless_they_say_where() -> None:
    token = "gcp:certificatemanager/dnsAuthorization:DnsAuthorization"
    assert made(token, {"name": "d"}, "europe-west4")[0] == "projects/sim-project/locations/global/dnsAuthorizations/d"
    entry = {"name": "e", "map": "m"}
    found = made("gcp:certificatemanager/certificateMapEntry:CertificateMapEntry", entry, "europe-west4")[0]
    assert found == "projects/sim-project/locations/global/certificateMaps/m/certificateMapEntries/e"


def test_gcp_outputs() -> None:
    network = made("gcp:compute/network:Network", {"name": "n"}, "europe-west4")[1]
    assert network["selfLink"] == "https://www.googleapis.com/compute/v1/projects/sim-project/global/networks/n"
    cluster = made("gcp:container/cluster:Cluster", {"name": "c", "location": "us-central1"}, "us-central1")[1]
    assert re.fullmatch(r"203\.0\.113\.\d+", cluster["endpoint"])
    assert b"BEGIN CERTIFICATE" in base64.b64decode(cluster["masterAuth"]["clusterCaCertificate"])
    assert cluster["selfLink"].endswith("/projects/sim-project/locations/us-central1/clusters/c")
    assert cluster["nodeLocations"] == ["us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f"]
    account = made("gcp:serviceaccount/account:Account", {"accountId": "robot"}, None)[1]
    assert account["email"] == "robot@sim-project.iam.gserviceaccount.com"
    assert account["member"] == "serviceAccount:robot@sim-project.iam.gserviceaccount.com"
    agent = made("gcp:projects/serviceIdentity:ServiceIdentity", {"service": "container.googleapis.com"}, None)[1]
    assert re.fullmatch(r"service-\d{12}@container-engine-robot\.iam\.gserviceaccount\.com", agent["email"])
    bucket = made("gcp:storage/bucket:Bucket", {"name": "b", "location": "eu"}, None)[1]
    assert (bucket["url"], bucket["selfLink"]) == ("gs://b", "https://www.googleapis.com/storage/v1/b/b")
    database = made(
        "gcp:sql/databaseInstance:DatabaseInstance", {"name": "d", "region": "europe-west1"}, "europe-west1"
    )[1]
    assert database["connectionName"] == "sim-project:europe-west1:d"


def test_kubernetes_objects() -> None:
    id, out = made("kubernetes:core/v1:ConfigMap", {"metadata": {"namespace": "n"}}, None, "settings")
    assert re.fullmatch(r"n/settings-[0-9a-f]{8}", id)
    assert out["metadata"]["name"] == id.removeprefix("n/")
    assert made("kubernetes:core/v1:ConfigMap", {"metadata": {"name": "x"}}, None)[0] == "default/x"
    assert made("kubernetes:karpenter.sh/v1:NodePool", {"metadata": {"name": "x"}}, None)[0] == "x"
    assert made("kubernetes:core/v1:Namespace", {"metadata": {"name": "x"}}, None)[0] == "x"
    service = {"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer"}}
    on_aws = made("kubernetes:core/v1:Service", service, "eu-west-1")[1]["status"]["loadBalancer"]["ingress"][0]
    on_gcp = made("kubernetes:core/v1:Service", service, "europe-west4")[1]["status"]["loadBalancer"]["ingress"][0]
    assert list(on_aws) == ["hostname"]
    assert list(on_gcp) == ["ip"]
    internal = made("kubernetes:core/v1:Service", {"metadata": {"name": "s"}, "spec": {}}, "eu-west-1")[1]
    assert internal["status"] == {"loadBalancer": {}}
    assert internal["spec"]["clusterIP"].startswith("172.20.")
    release = made("kubernetes:helm.sh/v3:Release", {"chart": "oci://x/karpenter", "namespace": "kube-system"}, None)
    assert release[0].startswith("kube-system/main-")
    assert release[1]["status"]["status"] == "deployed"


@given(
    length=st.integers(4, 80),
    upper=st.booleans(),
    numeric=st.booleans(),
    special=st.sampled_from([None, "", "_-", "#"]),
    least=st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_random_password_keeps_its_promises(
    length: int, upper: bool, numeric: bool, special: str | None, least: int
) -> None:
    inputs: dict[str, Any] = {"length": length, "upper": upper, "numeric": numeric, "minLower": least}
    inputs |= {"overrideSpecial": special, "minSpecial": least} if special else {"special": False}
    text = made("random:index/randomPassword:RandomPassword", inputs)[1]["result"]
    assert len(text) == length
    assert upper or not set(text) & set(string.ascii_uppercase)
    assert numeric or not set(text) & set(string.digits)
    assert set(text) - set(string.ascii_letters + string.digits) <= set(special or "")
    assert sum(c in string.ascii_lowercase for c in text) >= least
    assert not special or sum(c in special for c in text) >= least


def test_other_random_things() -> None:
    id = made("random:index/randomId:RandomId", {"byteLength": 4, "prefix": "p-"})[1]
    assert re.fullmatch(r"p-[0-9a-f]{8}", id["hex"])
    assert id["dec"] == f"p-{int(id['hex'][2:], 16)}"
    assert id["b64Std"] == "p-" + base64.b64encode(bytes.fromhex(id["hex"][2:])).decode()
    pet = made("random:index/randomPet:RandomPet", {"length": 3, "separator": "_", "prefix": "x"})[0]
    assert re.fullmatch(r"x_[a-z]+_[a-z]+_[a-z]+", pet)
    number = made("random:index/randomInteger:RandomInteger", {"min": 5, "max": 7})[1]["result"]
    assert 5 <= number <= 7
    shuffled = made("random:index/randomShuffle:RandomShuffle", {"inputs": list("abcdef")})[1]["results"]
    assert sorted(shuffled) == list("abcdef")
    key = made("tls:index/privateKey:PrivateKey", {"algorithm": "ED25519"})[1]
    assert key["publicKeyOpenssh"].startswith("ssh-ed25519 ")
    assert key["privateKeyPem"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert made("command:local:Command", {"create": "date"})[1]["stdout"] == ""


def test_inputs_come_back_and_the_rest_has_the_declared_type() -> None:
    inputs = {"cidrBlock": "10.0.0.0/16", "tags": {"a": "b"}, "enableDnsHostnames": True}
    _, out = made("aws:ec2/vpc:Vpc", inputs)
    assert {key: out[key] for key in inputs} == inputs
    assert out["tagsAll"] == {"a": "b"}
    _, out = made("aws:msk/cluster:Cluster", {"clusterName": "k"})
    assert isinstance(out["bootstrapBrokersTls"], str)
    assert isinstance(out["storageMode"], str)


def test_a_type_that_nobody_knows_gives_its_inputs_back() -> None:
    id, out = made("nosuch:index:Thing", {"a": 1})
    assert id
    assert out == {"a": 1}


def test_what_is_only_read_keeps_the_id_that_it_was_read_by() -> None:
    id, out = outputs.synthesize("aws:ec2/vpc:Vpc", "v", "urn:x", {}, "eu-west-1", existing="vpc-0123")
    assert (id, out["arn"]) == ("vpc-0123", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:vpc/vpc-0123")


@given(
    name=st.text(string.ascii_lowercase, min_size=1, max_size=12), region=st.sampled_from(["us-east-1", "eu-west-1"])
)
@settings(max_examples=25, deadline=None)
def test_same_arguments_same_outputs_other_urn_other_id(name: str, region: str) -> None:
    for token in ("aws:ec2/vpc:Vpc", "aws:eks/cluster:Cluster", "random:index/randomId:RandomId"):
        assert made(token, {}, region, name) == made(token, {}, region, name)
        assert made(token, {}, region, name)[0] != made(token, {}, region, name + "x")[0]


def test_programs_see_them(must_run: Any) -> None:
    """Through the SDK: outputs arrive under their Python names and types."""

    def program() -> None:
        principal = {"type": "Service", "identifiers": ["eks.amazonaws.com"]}
        trust = aws.iam.get_policy_document(statements=[{"actions": ["sts:AssumeRole"], "principals": [principal]}])
        role = aws.iam.Role("nodes", assume_role_policy=trust.json)
        cluster = aws.eks.Cluster("c", name="c", role_arn=role.arn, vpc_config={"subnet_ids": ["subnet-1"]})
        url = cluster.identities[0].oidcs[0].issuer.apply(lambda issuer: issuer.removeprefix("https://"))
        pulumi.export("issuer", url)
        pulumi.export("authority", cluster.certificate_authority.data.apply(must_run(lambda data: data[:8])))

    plan = plan_of(program, {"aws:region": "eu-west-1"}, simulate_up=True)
    assert plan.outputs["issuer"].startswith("oidc.eks.eu-west-1.amazonaws.com/id/")
    assert plan.outputs["authority"] == "LS0tLS1C"
    role = plan.one("aws:iam/role:Role").outputs["arn"]
    assert plan.one("aws:eks/cluster:Cluster").inputs["roleArn"] == role
