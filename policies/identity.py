"""Who may do what: machines as machines, pods as themselves, nobody as everyone."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies import kinds
from policies.declare import Parameters, Violation, at, each, off, resource_policy, stack_policy, texts
from policies.lookup import allows, managed, principals, statements, unclear


@resource_policy(
    "instance-metadata-is-closed-to-pods",
    "A machine hands its credentials to itself only: IMDSv2 one hop far on EC2, the metadata server on GKE",
    types=(kinds.LAUNCH_TEMPLATE, kinds.NODE_CLASS, kinds.EC2_INSTANCE, kinds.GKE_NODE_POOL),
    risk="critical",
    why="https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html",
    fix="Require tokens with a hop limit of 1 (EC2); set workloadMetadataConfig to GKE_METADATA (GKE).",
)
def instance_metadata_is_closed_to_pods(machine: Resource, _: Parameters) -> Iterator[str]:
    if machine.type == kinds.GKE_NODE_POOL:
        mode = at(machine, "nodeConfig.workloadMetadataConfig.mode", "GCE_METADATA")
        if mode in ("GCE_METADATA", "MODE_UNSPECIFIED"):
            yield "its pods can be the machine; expected workloadMetadataConfig.mode GKE_METADATA"
        if at(machine, "nodeConfig.metadata.disable-legacy-endpoints") in (False, "false"):
            yield "its old metadata endpoints answer without a header; expected disable-legacy-endpoints"
        return
    inside = "spec.metadataOptions" if machine.type == kinds.NODE_CLASS else "metadataOptions"
    # Karpenter's own defaults are the closed ones, EC2's are not.
    tokens, hops = ("required", 1) if machine.type == kinds.NODE_CLASS else ("optional", 1)
    options = at(machine, inside, {})
    if at(options, "httpEndpoint") == "disabled":
        return
    if at(options, "httpTokens", tokens) == "optional":
        yield "answers requests for credentials without a token; expected httpTokens required"
    limit = at(options, "httpPutResponseHopLimit", hops)
    if isinstance(limit, int | float) and limit > 1:
        yield f"its metadata go {limit:g} hops far, into pods; expected httpPutResponseHopLimit 1"


@resource_policy(
    "pods-have-identities-of-their-own",
    "A cluster gives its pods identities of their own in the cloud",
    types=(kinds.GKE_CLUSTER,),
    risk="high",
    why="https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity",
    fix="Set workloadIdentityConfig.workloadPool to <project>.svc.id.goog.",
)
def pods_have_identities_of_their_own(cluster: Resource, _: Parameters) -> Iterator[str]:
    autopilot = at(cluster, "enableAutopilot")
    if off(autopilot) and off(at(cluster, "workloadIdentityConfig.workloadPool")):
        yield "its pods have no identity but the machine's; expected workloadIdentityConfig"


@stack_policy(
    "node-roles-are-for-nodes",
    "The role of a machine lets it join and pull images; what a pod needs, its own identity has",
    risk="high",
    why="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
    fix="Move the permission to a WorkloadIdentity of the pod that needs it.",
    parameters={
        "aws": [
            "AmazonEKSWorkerNodePolicy",
            "AmazonEKSWorkerNodeMinimalPolicy",
            "AmazonEC2ContainerRegistryReadOnly",
            "AmazonEC2ContainerRegistryPullOnly",
            "AmazonEKS_CNI_Policy",
            "AmazonSSMManagedInstanceCore",
        ],
        "gcp": [
            "roles/container.defaultNodeServiceAccount",
            "roles/container.nodeServiceAccount",
            "roles/artifactregistry.reader",
            "roles/logging.logWriter",
            "roles/monitoring.metricWriter",
            "roles/monitoring.viewer",
            "roles/stackdriver.resourceMetadata.writer",
            "roles/autoscaling.metricsWriter",
        ],
    },
)
def node_roles_are_for_nodes(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    plan = inventory.plan
    roles = {r.urn for group in plan.of_type(kinds.EKS_NODE_GROUP)
             for r in inventory.references(group, "nodeRoleArn", kinds.IAM_ROLE)}  # fmt: skip
    roles |= {r.urn for one in plan.of_type(kinds.NODE_CLASS)
              for r in inventory.references(one, "spec.role", kinds.IAM_ROLE)}  # fmt: skip
    for attachment in managed(inventory, kinds.IAM_ATTACHMENT):
        held = {role.urn for role in inventory.references(attachment, "role", kinds.IAM_ROLE)}
        policy = at(attachment, "policyArn", "")
        name = policy.rpartition("/")[2] if isinstance(policy, str) else ""
        if held & roles and texts(policy) and name not in parameters["aws"]:
            yield Violation(f"gives every pod on the machines {name}", attachment)
    for policy in managed(inventory, kinds.IAM_ROLE_POLICY):
        if {role.urn for role in inventory.references(policy, "role", kinds.IAM_ROLE)} & roles:
            yield Violation("gives every pod on the machines a policy of its own", policy)
    accounts: set[str] = set()
    for pool in managed(inventory, kinds.GKE_NODE_POOL):
        account = at(pool, "nodeConfig.serviceAccount")
        if account in (None, "default"):
            yield Violation("its machines are the project's default service account, an editor of everything", pool)
        accounts |= {r.urn for r in inventory.references(pool, "nodeConfig.serviceAccount", kinds.GCP_SERVICE_ACCOUNT)}
    for grant in managed(inventory, kinds.GCP_PROJECT_MEMBER):
        role = at(grant, "role", "")
        if texts(role) and role not in parameters["gcp"] and _holders(inventory, grant) & accounts:
            yield Violation(f"gives every pod on the machines {role}", grant)


def _holders(inventory: Inventory, grant: Resource) -> set[str]:
    """The service accounts that a grant is for: its member is an address after `serviceAccount:`."""
    member = at(grant, "member", "")
    known = {
        account.urn
        for account in inventory.plan.of_type(kinds.GCP_SERVICE_ACCOUNT)
        if isinstance(member, str) and account.outputs.get("email") == member.partition(":")[2]
    }
    return known or {r.urn for r in inventory.references(grant, "member", kinds.GCP_SERVICE_ACCOUNT)}


_BASIC_ROLES = ("roles/owner", "roles/editor", "roles/viewer")


@resource_policy(
    "no-wildcard-permissions",
    "No identity may do everything, or everything of a service, everywhere",
    types=(
        kinds.IAM_POLICY,
        kinds.IAM_ROLE_POLICY,
        kinds.IAM_ROLE,
        kinds.GCP_PROJECT_MEMBER,
        kinds.GCP_PROJECT_BINDING,
    ),
    risk="critical",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
    fix="List the actions that are needed and the resources that they are needed on.",
    parameters={"gcp_roles": [*_BASIC_ROLES, "roles/*.admin"]},
)
def no_wildcard_permissions(identity: Resource, parameters: Parameters) -> Iterator[str]:
    if identity.package == "gcp":
        role = at(identity, "role", "")
        if isinstance(role, str) and any(fnmatchcase(role, str(one)) for one in parameters["gcp_roles"]):
            yield f"grants {role} on the whole project"
        return
    documents = [at(identity, "policy"), *(at(inline, "policy") for inline in each(identity, "inlinePolicies"))]
    for statement in (one for document in documents for one in statements(document)):
        actions = [action for action in texts(statement.get("Action")) if action == "*" or action.endswith(":*")]
        everywhere = "*" in texts(statement.get("Resource"))
        if allows(statement) and "NotAction" in statement and everywhere:
            yield "allows everything but a few actions, on every resource"
        elif allows(statement) and actions and everywhere and not statement.get("Condition"):
            yield f"allows {', '.join(actions)} on every resource"
        elif allows(statement) and "*" in actions and not everywhere:
            yield "allows every action"


@resource_policy(
    "nobody-is-everybody",
    "No policy lets everyone in without saying from where",
    types=(kinds.IAM_ROLE, kinds.S3_POLICY, kinds.SQS_POLICY, kinds.EFS_POLICY, kinds.KMS_KEY),
    risk="critical",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html",
    fix="Name the principal, or add a condition on the account, the organization or the network.",
)
def nobody_is_everybody(resource: Resource, _: Parameters) -> Iterator[str]:
    document = at(resource, "assumeRolePolicy" if resource.type == kinds.IAM_ROLE else "policy")
    for statement in statements(document):
        if allows(statement) and "*" in principals(statement) and not statement.get("Condition"):
            yield f"allows {', '.join(texts(statement.get('Action'))) or 'something'} to everyone"


@resource_policy(
    "no-long-lived-keys",
    "No credential is made that lasts until somebody remembers it",
    types=(kinds.IAM_ACCESS_KEY, kinds.GCP_SERVICE_ACCOUNT_KEY),
    risk="high",
    why="https://cloud.google.com/iam/docs/best-practices-for-managing-service-account-keys",
    fix="Use a WorkloadIdentity within the clusters and federation from outside.",
)
def no_long_lived_keys(key: Resource, _: Parameters) -> Iterator[str]:
    if at(key, "status") in ("Inactive", UNKNOWN):
        return
    owner = at(key, "user", at(key, "serviceAccountId", "somebody"))
    yield f"is a key without an end, of {'somebody' if unclear(owner) else owner}"
