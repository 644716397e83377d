"""GpuCluster's control plane and add-ons, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from planner.plan import Plan
from tests.components.parity import Feature, NotOffered, Offered, values

EKS, GKE, GKE_NODES = "aws:eks/cluster:", "gcp:container/cluster:", "gcp:container/nodePool:"
ADDON, RELEASE = "aws:eks/addon:", "kubernetes:helm.sh/v3:Release"
TEMPLATE, NODE_CLASS = "aws:ec2/launchTemplate:", "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
GPU = "nodeConfig.guestAccelerators"
KNATIVE = "kubernetes:operator.knative.dev/v1beta1:KnativeServing"
CLUSTER_QUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:ClusterQueue"


def feature(title: str, arguments: str, aws: Any, gcp: Any, **more: Any) -> Feature:
    return Feature("GpuCluster", title, tuple(arguments.split()), aws, gcp, **more)


def charts(plan: Plan) -> set[str]:
    return set(values(plan, RELEASE, "name"))


FEATURES = [
    feature(
        "API server without a public address, unless networks are named",
        "public_access_cidrs",
        Offered("endpoint access private", lambda p: values(p, EKS, "vpcConfig.endpointPublicAccess") == [False]),
        Offered("private endpoint", lambda p: values(p, GKE, "privateClusterConfig.enablePrivateEndpoint") == [True]),
        change=lambda args: {**args, "public_access_cidrs": []},
    ),
    feature(
        "API server open to named networks",
        "public_access_cidrs",
        Offered("public access CIDRs", lambda p: values(p, EKS, "vpcConfig.publicAccessCidrs") == ["203.0.113.0/24"]),
        Offered(
            "authorized networks",
            lambda p: values(p, GKE, "masterAuthorizedNetworksConfig.cidrBlocks.cidrBlock") == ["203.0.113.0/24"],
        ),
    ),
    feature(
        "API server open to everyone",
        "public_access_cidrs",
        *[
            NotOffered(
                "name the networks that need access",
                lambda args: {**args, "public_access_cidrs": ["0.0.0.0/0"]},
                "public_access_cidrs has '0.0.0.0/0'",
            )
        ]
        * 2,
    ),
    feature(
        "Own key for secrets",
        "",
        Offered("envelope encryption with KMS", lambda p: values(p, EKS, "encryptionConfig.resources") == ["secrets"]),
        Offered("Cloud KMS for etcd", lambda p: values(p, GKE, "databaseEncryption.state") == ["ENCRYPTED"]),
    ),
    feature(
        "Own key for node disks",
        "node_pools.disk_gib",
        Offered(
            "encrypted gp3",
            lambda p: (
                {str(one).lower() for one in values(p, TEMPLATE, "blockDeviceMappings.ebs.encrypted")} == {"true"}
                and 300 in values(p, TEMPLATE, "blockDeviceMappings.ebs.volumeSize")
                and all(values(p, NODE_CLASS, "spec.blockDeviceMappings.ebs.kmsKeyID"))
            ),
        ),
        Offered(
            "boot disk key",
            lambda p: (
                len(values(p, GKE_NODES, "nodeConfig.bootDiskKmsKey")) == len(values(p, GKE_NODES))
                and 300 in values(p, GKE_NODES, "nodeConfig.diskSizeGb")
            ),
        ),
    ),
    feature(
        "Control-plane logs, kept for a while",
        "log_retention_days",
        Offered("CloudWatch log group", lambda p: values(p, "aws:cloudwatch/logGroup:", "retentionInDays") == [30]),
        Offered(
            "log bucket and sink", lambda p: values(p, "gcp:logging/projectBucketConfig:", "retentionDays") == [30]
        ),
    ),
    feature(
        "Administrators by cloud identity",
        "administrators",
        Offered(
            "access entries",
            lambda p: "arn:aws:iam::123456789012:role/admin" in values(p, "aws:eks/accessEntry:", "principalArn"),
        ),
        Offered(
            "role binding and cluster viewer",
            lambda p: (
                "group:admins@example.com" in values(p, "gcp:projects/iAMMember:", "member")
                and values(p, "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding", "roleRef.name")
                == ["cluster-admin"]
            ),
        ),
    ),
    feature(
        "Deletion protection",
        "protect",
        Offered("EKS deletion protection; protected key", lambda p: values(p, EKS, "deletionProtection") == [True]),
        Offered("GKE deletion protection; protected key", lambda p: values(p, GKE, "deletionProtection") == [True]),
    ),
    feature(
        "Cloud identities for pods",
        "",
        Offered("EKS Pod Identity", lambda p: "eks-pod-identity-agent" in values(p, ADDON, "addonName")),
        Offered(
            "Workload Identity Federation",
            lambda p: values(p, GKE, "workloadIdentityConfig.workloadPool") == ["sim-project.svc.id.goog"],
        ),
    ),
    feature(
        "Network policies enforced",
        "",
        Offered(
            "VPC CNI",
            lambda p: any("enableNetworkPolicy" in text for text in values(p, ADDON, "configurationValues")),
        ),
        Offered("Dataplane V2", lambda p: values(p, GKE, "datapathProvider") == ["ADVANCED_DATAPATH"]),
    ),
    feature(
        "Only approved images",
        "",
        NotOffered("EKS has no admission of its own for signatures"),
        Offered(
            "Binary Authorization",
            lambda p: values(p, GKE, "binaryAuthorization.evaluationMode") == ["PROJECT_SINGLETON_POLICY_ENFORCE"],
        ),
    ),
    feature(
        "Containers start while their image streams in",
        "",
        NotOffered("EKS has no image streaming; the images of machines are cached on local NVMe at best"),
        Offered("image streaming", lambda p: set(values(p, GKE_NODES, "nodeConfig.gcfsConfig.enabled")) == {True}),
    ),
    feature(
        "Drivers for all storage tiers",
        "",
        Offered(
            "EKS add-ons",
            lambda p: (
                {f"aws-{kind}-csi-driver" for kind in ("ebs", "efs", "fsx", "mountpoint-s3")}
                <= set(values(p, ADDON, "addonName"))
            ),
        ),
        Offered(
            "GKE add-ons",
            lambda p: all(
                values(p, GKE, f"addonsConfig.{driver}CsiDriverConfig.enabled") == [True]
                for driver in ("gcsFuse", "lustre", "gcpFilestore", "gcePersistentDisk")
            ),
        ),
    ),
    feature(
        "Jobs wait for all of their machines",
        "",
        *[Offered("Kueue", lambda p: "kueue" in charts(p) and not values(p, CLUSTER_QUEUE))] * 2,
    ),
    feature(
        "Operators of training jobs, where a pool trains",
        "node_pools.purpose",
        *[Offered("Kubeflow Trainer, KubeRay", lambda p: {"kubeflow-trainer", "kuberay-operator"} <= charts(p))] * 2,
    ),
    feature(
        "KServe's operator, where it is asked for",
        "kserve",
        *[Offered("cert-manager, KServe", lambda p: {"cert-manager", "kserve-crd", "kserve-resources"} <= charts(p))]
        * 2,
        change=lambda args: {**args, "kserve": "raw"},
    ),
    feature(
        "Knative beside it, for servers that scale to zero",
        "kserve",
        *[Offered("Knative with Kourier", lambda p: values(p, KNATIVE, "spec.ingress.kourier.enabled") == [True])] * 2,
        change=lambda args: {**args, "kserve": "serverless"},
    ),
    feature(
        "CPU and memory of pods for autoscalers",
        "",
        Offered("metrics-server", lambda p: "metrics-server" in values(p, ADDON, "addonName")),
        Offered("Google's own", lambda p: values(p, GKE) != []),
    ),
    feature(
        "NCCL's plugin for the fabric",
        "node_pools.fabric",
        NotOffered("EFA's is in the container images; its device plugin is an add-on"),
        Offered(
            "Google's installers on the machines",
            lambda p: "nccl-tcpxo-installer" in values(p, "kubernetes:apps/v1:DaemonSet", "metadata.name"),
        ),
    ),
    feature(
        "Scaling of inference by what requests wait for",
        "",
        *[Offered("Prometheus and KEDA", lambda p: {"kube-prometheus-stack", "keda"} <= charts(p))] * 2,
    ),
    feature(
        "Requests wait for a server at zero, where a pool serves",
        "node_pools.purpose",
        *[Offered("KEDA's HTTP add-on", lambda p: "keda-add-ons-http" in charts(p))] * 2,
    ),
    feature(
        "No Prometheus but Observability's",
        "prometheus",
        *[
            Offered(
                "its operator alone",
                lambda p: values(p, "kubernetes:helm.sh/v3:Release", "values.prometheus.enabled") == [False],
            )
        ]
        * 2,
        change=lambda args: {**args, "prometheus": False},
    ),
    feature(
        "GPU metrics and drivers",
        "",
        Offered("NVIDIA GPU operator", lambda p: "gpu-operator" in charts(p)),
        Offered(
            "Google's driver, DCGM exporter",
            lambda p: (
                "dcgm-exporter" in charts(p)
                and set(
                    values(p, GKE_NODES, "nodeConfig.guestAccelerators.gpuDriverInstallationConfig.gpuDriverVersion")
                )
                == {"DEFAULT"}
            ),
        ),
    ),
]
