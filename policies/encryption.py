"""What is at rest is encrypted, with keys of one's own that turn."""

from __future__ import annotations

from collections.abc import Iterator

from planner.inventory import Inventory
from planner.plan import Resource
from policies import kinds
from policies.declare import Parameters, Violation, at, each, off, resource_policy, stack_policy
from policies.lookup import attached, managed, tls_only, unclear

_OWN_KEYS = "https://cloud.google.com/kms/docs/cmek-best-practices"


@resource_policy(
    "cluster-secrets-under-own-key",
    "A cluster encrypts its Secrets with a key of one's own before they are stored",
    types=(kinds.EKS_CLUSTER, kinds.GKE_CLUSTER),
    risk="high",
    why="https://docs.aws.amazon.com/eks/latest/userguide/envelope-encryption.html",
    fix="Set encryptionConfig with a KMS key (EKS) or databaseEncryption with a Cloud KMS key (GKE).",
)
def cluster_secrets_under_own_key(cluster: Resource, _: Parameters) -> Iterator[str]:
    if cluster.type == kinds.EKS_CLUSTER:
        config = at(cluster, "encryptionConfig")
        if off(config) or off(at(config, "provider.keyArn")):
            yield "its Secrets are under Amazon's key; expected encryptionConfig with a keyArn"
        return
    state = at(cluster, "databaseEncryption.state", "DECRYPTED")
    if state == "DECRYPTED" or off(at(cluster, "databaseEncryption.keyName")):
        yield "its Secrets are under Google's key; expected databaseEncryption ENCRYPTED with a keyName"


@stack_policy(
    "buckets-under-own-key",
    "Every bucket encrypts with a key of one's own",
    risk="high",
    why=_OWN_KEYS,
    fix="Name the key: aws:kms with kmsMasterKeyId (S3), defaultKmsKeyName (Cloud Storage).",
)
def buckets_under_own_key(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    configurations = attached(inventory, "bucket", kinds.S3_BUCKET, kinds.S3_ENCRYPTION)
    log_targets = attached(inventory, "targetBucket", kinds.S3_BUCKET, kinds.S3_LOGGING)
    for bucket in managed(inventory, kinds.S3_BUCKET):
        # S3 writes no access logs into a bucket with another key than its own:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
        if log_targets.to(bucket) or not log_targets.certain:
            continue
        if configurations.lacks(bucket):
            yield Violation("is under Amazon's key; expected server-side encryption by aws:kms", bucket)
        for configuration in configurations.to(bucket):
            for rule in each(configuration, "rules"):
                default = at(rule, "applyServerSideEncryptionByDefault", {})
                if at(default, "sseAlgorithm") == "AES256" or off(at(default, "kmsMasterKeyId")):
                    yield Violation("is under Amazon's key; expected aws:kms with a kmsMasterKeyId", bucket)
    for bucket in managed(inventory, kinds.GCS_BUCKET):
        if off(at(bucket, "encryption.defaultKmsKeyName")):
            yield Violation("is under Google's key; expected encryption.defaultKmsKeyName", bucket)


@resource_policy(
    "file-systems-under-own-key",
    "Every file system encrypts with a key of one's own",
    types=(kinds.EFS, kinds.FSX_LUSTRE, kinds.FILESTORE, kinds.GCP_LUSTRE),
    risk="high",
    why=_OWN_KEYS,
    fix="Name the key: kmsKeyId (EFS, FSx), kmsKeyName (Filestore), kmsKey (Managed Lustre).",
)
def file_systems_under_own_key(file_system: Resource, _: Parameters) -> Iterator[str]:
    if file_system.type == kinds.EFS and off(at(file_system, "encrypted")):
        yield "is not encrypted; expected encrypted with a kmsKeyId"
        return
    key = {kinds.FILESTORE: "kmsKeyName", kinds.GCP_LUSTRE: "kmsKey"}.get(file_system.type, "kmsKeyId")
    # Managed Lustre cannot be mounted by GKE with a key of its own (November 2026):
    # https://docs.cloud.google.com/managed-lustre/docs/cmek
    for_gke = file_system.type == kinds.GCP_LUSTRE and not off(at(file_system, "gkeSupportEnabled"))
    if off(at(file_system, key)) and not for_gke:
        yield f"is under the cloud's key; expected {key}"


@resource_policy(
    "node-disks-under-own-key",
    "Every disk that a machine of a cluster starts from is encrypted with a key of one's own",
    types=(
        kinds.LAUNCH_TEMPLATE,
        kinds.NODE_CLASS,
        kinds.GKE_NODE_POOL,
    ),
    risk="medium",
    why="https://cloud.google.com/kubernetes-engine/docs/how-to/using-cmek",
    fix="Name the key in every block device mapping (AWS), or as bootDiskKmsKey (GKE).",
)
def node_disks_under_own_key(machine: Resource, _: Parameters) -> Iterator[str | Violation]:
    if machine.type == kinds.GKE_NODE_POOL:
        if at(machine, "nodeConfig") is None or off(at(machine, "nodeConfig.bootDiskKmsKey")):
            yield "its boot disks are under Google's key; expected nodeConfig.bootDiskKmsKey"
        return
    inside, key = (
        ("blockDeviceMappings", "kmsKeyId")
        if machine.type == kinds.LAUNCH_TEMPLATE
        else ("spec.blockDeviceMappings", "kmsKeyID")
    )
    mappings = at(machine, inside, [])
    if mappings == []:
        yield "leaves its disks to the account's defaults; expected block device mappings with a key"
    for disk in each(mappings):
        ebs = disk.get("ebs")
        if isinstance(ebs, dict) and (off(ebs.get("encrypted")) or off(ebs.get(key))):
            name = str(disk.get("deviceName", ""))
            yield Violation(f"its disk {name} is not under a key of one's own", machine, subject=name)


@resource_policy(
    "volumes-under-own-key",
    "Volumes that Kubernetes makes are encrypted with a key of one's own",
    types=(kinds.STORAGE_CLASS,),
    risk="medium",
    why="https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/parameters.md",
    fix="Set the class's parameters: encrypted and kmsKeyId (EBS), or disk-encryption-kms-key (persistent disks).",
)
def volumes_under_own_key(storage_class: Resource, _: Parameters) -> Iterator[str]:
    key = {
        "ebs.csi.aws.com": "kmsKeyId",
        "ebs.csi.eks.amazonaws.com": "kmsKeyId",
        "pd.csi.storage.gke.io": "disk-encryption-kms-key",
    }.get(str(at(storage_class, "provisioner")))
    if key and off(at(storage_class, f"parameters.{key}")):
        yield f"its volumes are under the cloud's key; expected the parameter {key}"


@resource_policy(
    "queues-under-own-key",
    "Every queue encrypts with a key of one's own",
    types=(kinds.SQS_QUEUE,),
    risk="medium",
    why="https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-server-side-encryption.html",
    fix="Set kmsMasterKeyId; the key's policy must let whoever sends to the queue use it.",
)
def queues_under_own_key(queue: Resource, _: Parameters) -> Iterator[str]:
    if off(at(queue, "kmsMasterKeyId")) or at(queue, "kmsMasterKeyId") == "alias/aws/sqs":
        yield "is under Amazon's key; expected kmsMasterKeyId"


@resource_policy(
    "metrics-under-own-key",
    "Every workspace of metrics encrypts with a key of one's own",
    types=(kinds.AMP_WORKSPACE,),
    risk="medium",
    why="https://docs.aws.amazon.com/prometheus/latest/userguide/encryption-at-rest-Amazon-Service-Prometheus.html",
    fix="Set kmsKeyArn when the workspace is made: it cannot be changed later.",
)
def metrics_under_own_key(workspace: Resource, _: Parameters) -> Iterator[str]:
    if off(at(workspace, "kmsKeyArn")):
        yield "is under Amazon's key; expected kmsKeyArn"


@resource_policy(
    "logs-under-own-key",
    "Every log group encrypts with a key of one's own",
    types=(kinds.LOG_GROUP,),
    risk="medium",
    why="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html",
    fix="Set kmsKeyId; the key's policy must let CloudWatch Logs use it.",
)
def logs_under_own_key(logs: Resource, _: Parameters) -> Iterator[str]:
    if off(at(logs, "kmsKeyId")):
        yield "is under Amazon's key; expected kmsKeyId"


@resource_policy(
    "keys-rotate",
    "Every key that encrypts data is renewed on its own, at least once a year",
    types=(kinds.KMS_KEY, kinds.CRYPTO_KEY),
    risk="medium",
    why="https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html",
    fix="Set enableKeyRotation (AWS) or rotationPeriod (GCP).",
    parameters={"days": 366},
)
def keys_rotate(key: Resource, parameters: Parameters) -> Iterator[str]:
    if key.type == kinds.KMS_KEY:
        symmetric = at(key, "customerMasterKeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT"
        days = at(key, "rotationPeriodInDays", 365)
        if symmetric and off(at(key, "enableKeyRotation")):
            yield "is never renewed; expected enableKeyRotation"
        elif isinstance(days, int | float) and days > parameters["days"]:
            yield f"is renewed every {days:g} days; expected {parameters['days']} at most"
        return
    period = at(key, "rotationPeriod")
    if at(key, "purpose", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT" or unclear(period or ""):
        return
    seconds = str(period or "").removesuffix("s")
    if not seconds.replace(".", "", 1).isdigit():
        yield "is never renewed; expected a rotationPeriod"
    elif float(seconds) > parameters["days"] * 86400:
        yield f"is renewed every {float(seconds) / 86400:g} days; expected {parameters['days']} at most"


@stack_policy(
    "storage-only-over-tls",
    "Buckets, file systems and queues refuse whoever comes without TLS",
    risk="high",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html",
    fix="Add a policy that denies everything where aws:SecureTransport is false.",
)
def storage_only_over_tls(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    # Cloud Storage and Filestore with NFS 4.1 have no such choice: Google's API takes nothing but TLS.
    for owner, path, policy in (
        (kinds.S3_BUCKET, "bucket", kinds.S3_POLICY),
        (kinds.EFS, "fileSystemId", kinds.EFS_POLICY),
        (kinds.SQS_QUEUE, "queueUrl", kinds.SQS_POLICY),
    ):
        policies = attached(inventory, path, owner, policy)
        for resource in managed(inventory, owner):
            documents = [at(each_policy, "policy") for each_policy in policies.to(resource)]
            if owner == kinds.SQS_QUEUE and at(resource, "policy") is not None:
                documents.append(at(resource, "policy"))
            if any(unclear(document) for document in documents):
                continue
            if (documents or policies.certain) and not any(tls_only(document) for document in documents):
                yield Violation("takes requests without TLS; expected a policy that denies them", resource)
