"""What somebody could change on one side of a contract and forget on the other."""

from __future__ import annotations

from tests.faults.fault import Fault, State, all_of, remove, the

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
SERVICE = "kubernetes:core/v1:Service"
SCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"
ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
RELEASE = "kubernetes:helm.sh/v3:Release"
INSTANCE = "app.kubernetes.io/instance"


def _container(states: list[State], name: str) -> dict:
    return the(states, DEPLOYMENT, name)["inputs"]["spec"]["template"]["spec"]["containers"][0]


def _renamed_label(states: list[State]) -> None:
    spec = the(states, DEPLOYMENT, "us-east-1-triton")["inputs"]["spec"]
    for labels in (spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]):
        labels[INSTANCE] = "us-east-1-server"


def _other_namespace(states: list[State]) -> None:
    the(states, SERVICE, "eu-central-1-triton")["inputs"]["metadata"]["namespace"] = "default"


def _template_label(states: list[State]) -> None:
    spec = the(states, DEPLOYMENT, "us-central1-triton")["inputs"]["spec"]
    spec["template"]["metadata"]["labels"]["app.kubernetes.io/name"] = "inference"


def _budget(states: list[State]) -> None:
    budget = the(states, "kubernetes:policy/v1:PodDisruptionBudget", "europe-west4-triton")
    budget["inputs"]["spec"]["selector"]["matchLabels"][INSTANCE] = "triton"


def _policy(states: list[State]) -> None:
    policy = the(states, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "ap-northeast-1-triton-traffic")
    policy["inputs"]["spec"]["podSelector"]["matchLabels"] = {"app": "triton"}


def _monitor(states: list[State]) -> None:
    monitor = the(states, "kubernetes:monitoring.coreos.com/v1:PodMonitor", "us-west-2-triton")
    monitor["inputs"]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] = "tritonserver"


def _metrics_port(states: list[State]) -> None:
    _container(states, "us-west-2-triton")["ports"][2]["name"] = "prometheus"


def _http_port(states: list[State]) -> None:
    """The server's HTTP port gets another name; Service and probe keep the old one."""
    _container(states, "us-east-1-triton")["ports"][0]["name"] = "rest"


def _policy_port(states: list[State]) -> None:
    policy = the(states, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "eu-central-1-triton-traffic")
    policy["inputs"]["spec"]["ingress"][0]["ports"] = [{"port": 8000, "protocol": "TCP"}]


def _binding(states: list[State]) -> None:
    binding = the(states, "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding", "us-west-2")
    binding["inputs"]["spec"]["serviceRef"]["name"] = "triton"


def _binding_port(states: list[State]) -> None:
    binding = the(states, "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding", "us-east-1")
    binding["inputs"]["spec"]["serviceRef"]["port"] = 80


def _target_type(states: list[State]) -> None:
    the(states, "aws:lb/targetGroup:TargetGroup", "eu-central-1")["inputs"]["targetType"] = "instance"


def _unbound(states: list[State]) -> None:
    remove(states, "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding", "ap-northeast-1")


def _group_name(states: list[State]) -> None:
    proxies = the(states, "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy", "asia-southeast1-route")
    annotations = proxies["inputs"]["spec"]["provider"]["kubernetes"]["envoyService"]["annotations"]
    annotations["cloud.google.com/neg"] = annotations["cloud.google.com/neg"].replace("prod-gateway", "gateway")


def _scale_target(states: list[State]) -> None:
    the(states, SCALER, "us-central1-triton")["inputs"]["spec"]["scaleTargetRef"]["name"] = "triton"


def _second_scaler(states: list[State]) -> None:
    """Somebody adds an autoscaler on CPU, as for every other server."""
    scaler = the(states, SCALER, "europe-west4-triton")
    type = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
    spec = {"minReplicas": 2, "maxReplicas": 8, "scaleTargetRef": scaler["inputs"]["spec"]["scaleTargetRef"]}
    inputs = {**scaler["inputs"], "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec}
    states.append({**scaler, "urn": scaler["urn"].replace(SCALER, type), "type": type, "inputs": inputs})


def _recorded(states: list[State]) -> None:
    """The recording rule gets a better name; the scaler goes on asking for the old one."""
    rule = the(states, "kubernetes:monitoring.coreos.com/v1:PrometheusRule", "us-east-1-triton-forecast")
    rule["inputs"]["spec"]["groups"][0]["rules"][1]["record"] = "aicloud:triton_requests:expected"


def _metric(states: list[State]) -> None:
    """An autoscaler on a metric that an adapter exported which is there no more."""
    scaler = the(states, SCALER, "us-west-2-triton")
    metric = {"type": "Pods", "pods": {"metric": {"name": "triton_queue_seconds_per_request"}}}
    spec = {"maxReplicas": 4, "scaleTargetRef": scaler["inputs"]["spec"]["scaleTargetRef"], "metrics": [metric]}
    type = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
    scaler["urn"], scaler["type"] = scaler["urn"].replace(SCALER, type), type
    scaler["inputs"] |= {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec}


def _prometheus(states: list[State]) -> None:
    release = the(states, RELEASE, "us-west-2-observability-prometheus")
    release["inputs"]["values"]["fullnameOverride"] = "monitoring"


def _keda(states: list[State]) -> None:
    remove(states, RELEASE, "ap-northeast-1-cluster-addons-keda")


def _activator(states: list[State]) -> None:
    remove(states, RELEASE, "us-east-1-cluster-addons-keda-add-ons-http")


def _route(states: list[State]) -> None:
    the(states, "kubernetes:http.keda.sh/v1beta1:InterceptorRoute")["inputs"]["metadata"]["name"] = "sentiment"


def _route_target(states: list[State]) -> None:
    the(states, "kubernetes:http.keda.sh/v1beta1:InterceptorRoute")["inputs"]["spec"]["target"]["service"] = "triton"


def _config_key(states: list[State]) -> None:
    """The server reads a setting from a config map that has it under another key."""
    service = the(states, SERVICE, "us-east-1-triton-service")
    states.append(
        {
            **service,
            "urn": service["urn"].replace("core/v1:Service::", "core/v1:ConfigMap::"),
            "type": "kubernetes:core/v1:ConfigMap",
            "inputs": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "settings", "namespace": "serving"},
                "data": {"log_level": "1"},
            },
        }
    )
    _container(states, "us-east-1-triton")["env"].append(
        {"name": "LOG_LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "log-level"}}}
    )


def _secret(states: list[State]) -> None:
    spec = the(states, DEPLOYMENT, "us-west-2-triton")["inputs"]["spec"]["template"]["spec"]
    spec["volumes"].append({"name": "token", "secret": {"secretName": "registry-token"}})


def _account(states: list[State]) -> None:
    spec = the(states, DEPLOYMENT, "us-east-1-triton")["inputs"]["spec"]["template"]["spec"]
    spec["serviceAccountName"] = "triton"


def _identity(states: list[State]) -> None:
    the(states, ASSOCIATION, "eu-central-1-triton")["inputs"]["namespace"] = "inference"


def _chart_account(states: list[State]) -> None:
    release = next(
        r for r in all_of(states, RELEASE, "us-west-2-cluster-karpenter") if r["inputs"]["name"] == "karpenter"
    )
    release["inputs"]["values"]["serviceAccount"]["name"] = "karpenter-controller"


def _google_identity(states: list[State]) -> None:
    member = the(states, "gcp:storage/bucketIAMMember:BucketIAMMember", "us-central1-triton-identity")
    member["inputs"]["member"] = member["inputs"]["member"].replace("/sa/us-central1-triton", "/sa/triton")


def _namespace(states: list[State]) -> None:
    remove(states, "kubernetes:core/v1:Namespace", "europe-west4-cluster-addons-kueue-system")


def _node_class(states: list[State]) -> None:
    pool = the(states, "kubernetes:karpenter.sh/v1:NodePool", "us-west-2-cluster-karpenter-serving-l4-spot")
    pool["inputs"]["spec"]["template"]["spec"]["nodeClassRef"]["name"] = "serving-l4"


def _compute_class(states: list[State]) -> None:
    one = the(states, "kubernetes:cloud.google.com/v1:ComputeClass", "europe-west4-cluster-nodes-serving-l4")
    one["inputs"]["spec"]["priorities"][0]["nodepools"] = ["serving-l4-preemptible"]


def _flavor(states: list[State]) -> None:
    flavor = the(states, "kubernetes:kueue.x-k8s.io/v1beta2:ResourceFlavor", "us-west-2-queue-resourceflavor-training")
    flavor["inputs"]["spec"]["nodeLabels"]["aicloud.dev/pool"] = "training"


def _volume(states: list[State]) -> None:
    claim = the(states, "kubernetes:core/v1:PersistentVolumeClaim", "us-east-1-storage-warm-training")
    claim["inputs"]["spec"]["volumeName"] = "us-east-1-storage-hot-training"


def _file_system(states: list[State]) -> None:
    volume = the(states, "kubernetes:core/v1:PersistentVolume", "us-west-2-storage-warm-training")
    volume["inputs"]["spec"]["csi"]["volumeHandle"] = "fs-0123456789abcdef0::fsap-0123456789abcdef0"


def _storage_class(states: list[State]) -> None:
    claim = the(states, "kubernetes:core/v1:PersistentVolumeClaim", "us-west-2-storage-warm-training")
    claim["inputs"]["spec"] |= {"storageClassName": "fast", "volumeName": ""}


def _parameters(states: list[State]) -> None:
    network = the(states, "kubernetes:networking.gke.io/v1:Network", "europe-west4-cluster-nodes-gpudirect-3")
    network["inputs"]["spec"]["parametersRef"]["name"] = "gpudirect-3-parameters"


FAULTS: tuple[Fault, ...] = (
    Fault("label of the pods renamed", "prod", "service-selects-pods", "us-east-1-triton", _renamed_label),
    Fault("Service in another namespace", "prod", "service-exists", "eu-central-1", _other_namespace),
    Fault("label of the template renamed", "staging", "workload-selects-its-own-pods", "us-central1", _template_label),
    Fault("budget for no pods", "prod", "disruption-budget-selects-pods", "europe-west4-triton", _budget),
    Fault("network policy for no pods", "prod", "network-policy-selects-pods", "ap-northeast-1-triton", _policy),
    Fault("monitor of no pods", "staging", "monitor-selects-pods", "us-west-2-triton", _monitor),
    Fault("metrics port renamed", "staging", "port-exists", "us-west-2-triton-monitor", _metrics_port),
    Fault("HTTP port renamed", "dev", "port-exists", "us-east-1-triton-service", _http_port),
    Fault("network policy without the gRPC port", "prod", "network-policy-admits-the-service", "eu-central-1-triton",
          _policy_port),
    Fault("binding to a Service that isn't there", "staging", "service-exists", "us-west-2-endpoint", _binding),
    Fault("binding to a port that isn't there", "dev", "service-exists", "us-east-1-endpoint", _binding_port),
    Fault("target group of machines, not pods", "prod", "target-group-matches-service", "eu-central-1-endpoint",
          _target_type),
    Fault("target group without a binding", "prod", "target-group-matches-service", "ap-northeast-1-endpoint",
          _unbound),
    Fault("endpoint groups under another name", "prod", "backend-group-has-a-service", "gcp:asia-southeast1",
          _group_name),
    Fault("autoscaler of nothing", "staging", "scale-target-exists", "us-central1-triton", _scale_target),
    Fault("autoscaler beside a scaler", "prod", "scale-target-exists", "europe-west4-triton", _second_scaler),
    Fault("autoscaler on a metric of no adapter", "staging", "scaling-metric-exists", "us-west-2-triton", _metric),
    Fault("recorded series renamed", "prod", "scaling-metric-exists", "us-east-1-triton-scaler", _recorded),
    Fault("Prometheus renamed", "staging", "scaling-source-exists", "us-west-2-triton-scaler", _prometheus),
    Fault("no KEDA", "prod", "scaling-source-exists", "ap-northeast-1-triton-scaler", _keda),
    Fault("no activator", "dev", "scaling-source-exists", "us-east-1-triton-scaler", _activator),
    Fault("route of the activator renamed", "dev", "scaling-source-exists", "us-east-1-triton-scaler", _route),
    Fault("activator before a Service that isn't there", "dev", "service-exists", "us-east-1-triton-activator",
          _route_target),
    Fault("key of a config map misspelt", "dev", "config-key-exists", "us-east-1-triton", _config_key),
    Fault("secret that nobody makes", "staging", "config-key-exists", "us-west-2-triton", _secret),
    Fault("service account that isn't there", "dev", "service-account-exists", "us-east-1-triton", _account),
    Fault("identity in another namespace", "prod", "identity-matches-service-account", "eu-central-1-triton",
          _identity),
    Fault("service account of a chart renamed", "staging", "identity-matches-service-account",
          "us-west-2-cluster-karpenter", _chart_account),
    Fault("identity of another account on GCP", "staging", "identity-matches-service-account", "us-central1-triton",
          _google_identity),
    Fault("namespace of a chart forgotten", "prod", "namespace-exists", "europe-west4", _namespace),
    Fault("node class under another name", "staging", "node-class-exists", "us-west-2", _node_class),
    Fault("compute class tries no pool", "prod", "compute-class-pools-exist", "europe-west4", _compute_class),
    Fault("flavor of no pool", "staging", "flavor-matches-a-pool", "us-west-2", _flavor),
    Fault("claim names another's volume", "prod", "volume-matches-its-claim", "us-east-1-storage-warm", _volume),
    Fault("volume of a file system that isn't there", "staging", "volume-has-a-file-system", "us-west-2-storage-warm",
          _file_system),
    Fault("storage class that isn't there", "staging", "storage-class-exists", "us-west-2-storage-warm",
          _storage_class),
    Fault("device network without parameters", "prod", "device-network-exists", "europe-west4", _parameters),
)  # fmt: skip
