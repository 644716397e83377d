"""What the two clouds offer of the closed loop's servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planner.plan import Plan
from tests.components.parity import Feature, NotOffered, Offered, protected, values

RDS, SQL, SQL_USER = "aws:rds/instance:Instance", "gcp:sql/databaseInstance:DatabaseInstance", "gcp:sql/user:User"
ROLE_POLICY, MEMBER = "aws:iam/rolePolicy:", "gcp:storage/bucketIAMMember:"
DEPLOYMENT, POLICY = "kubernetes:apps/v1:Deployment", "kubernetes:networking.k8s.io/v1:NetworkPolicy"
CONTAINERS = "spec.template.spec.containers"
CLAIM, CONFIG = "kubernetes:core/v1:PersistentVolumeClaim", "kubernetes:core/v1:ConfigMap"


def of(component: str) -> Callable[..., Feature]:
    def feature(title: str, arguments: str, aws: Any, gcp: Any, **more: Any) -> Feature:
        return Feature(component, title, tuple(arguments.split()), aws, gcp, **more)

    return feature


def alike(how: str, proof: Callable[[Plan], bool]) -> tuple[Offered, Offered]:
    return Offered(how, proof), Offered(how, proof)


def words(plan: Plan, type: str, path: str) -> str:
    return " ".join(map(str, values(plan, type, path)))


def asks(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda args: {**args, **changes}


def words_of(plan: Plan, type: str, name: str, path: str) -> str:
    return " ".join(map(str, values(plan, type, path, name=name)))


def managed(args: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Without what only the one in the cluster has."""
    own = ("namespace", "image", "database", "replicas", "tracking_namespace", "monitoring_namespace")
    return {**{key: value for key, value in args.items() if key not in own}, "managed": True, **changes}


mlflow, sagemaker, airflow = of("MlflowServer"), of("SageMakerPipeline"), of("AirflowDeployment")
trigger, kubeflow = of("RetrainingTrigger"), of("KubeflowPipelines")
CRONJOB, RUN_CONTAINERS = "kubernetes:batch/v1:CronJob", "spec.jobTemplate.spec.template.spec.containers"
RELEASE = "kubernetes:helm.sh/v3:Release"
MWAA, COMPOSER = "aws:mwaa/environment:Environment", "gcp:composer/environment:Environment"
PIPELINE, SCHEDULE = "aws:sagemaker/pipeline:Pipeline", "aws:scheduler/schedule:Schedule"
ABSENT = "Airflow, or a Job in the cluster, runs it"

FEATURES = [
    mlflow(
        "A PostgreSQL of its own, of three sizes, whose storage grows",
        "database.size database.storage_gib",
        Offered(
            "RDS",
            lambda p: (
                values(p, RDS, "instanceClass") == ["db.m7g.large"] and values(p, RDS, "maxAllocatedStorage") == [500]
            ),
        ),
        Offered(
            "Cloud SQL, edition Enterprise",
            lambda p: (
                values(p, SQL, "settings.tier") == ["db-custom-2-8192"]
                and values(p, SQL, "settings.diskAutoresizeLimit") == [500]
            ),
        ),
    ),
    mlflow(
        "The database survives the loss of a zone",
        "database.zonal_redundancy",
        Offered("Multi-AZ", lambda p: values(p, RDS, "multiAz") == [True]),
        Offered("regional", lambda p: values(p, SQL, "settings.availabilityType") == ["REGIONAL"]),
    ),
    mlflow(
        "The database as it was at any second of the last days",
        "database.backup_days",
        Offered("automated backups, 35 days at most", lambda p: values(p, RDS, "backupRetentionPeriod") == [14]),
        Offered(
            "daily backups; any second of 7 days at most",
            lambda p: (
                values(p, SQL, "settings.backupConfiguration.backupRetentionSettings.retainedBackups") == [14]
                and values(p, SQL, "settings.backupConfiguration.transactionLogRetentionDays") == [7]
            ),
        ),
    ),
    mlflow(
        "Database and artifacts under an own key",
        "encryption_key",
        Offered("KMS", lambda p: values(p, RDS, "kmsKeyId") == ["arn:aws:kms:us-east-1:123456789012:key/models"]),
        Offered("CMEK", lambda p: values(p, SQL, "encryptionKeyName")[0].endswith("cryptoKeys/models")),
    ),
    mlflow(
        "A login whose password no person and no program knows",
        "",
        Offered(
            "RDS's own secret, turned every week",
            lambda p: (
                values(p, RDS, "manageMasterUserPassword") == [True]
                and "secretsmanager:GetSecretValue" in words(p, ROLE_POLICY, "policy")
            ),
        ),
        Offered(
            "tokens of a Google account of the pods' own",
            lambda p: (
                values(p, SQL_USER, "type") == ["CLOUD_IAM_SERVICE_ACCOUNT"]
                and values(p, SQL, "settings.ipConfiguration.ipv4Enabled") == [False]
            ),
        ),
    ),
    mlflow(
        "Artifacts in one prefix of the bucket, and no right to the rest",
        "bucket bucket_url artifact_prefix",
        Offered("role", lambda p: "arn:aws:s3:::sim-models/runs/*" in words(p, ROLE_POLICY, "policy")),
        Offered("IAM condition", lambda p: "sim-models/objects/runs/" in words(p, MEMBER, "condition.expression")),
        change=asks(artifact_prefix="runs"),
    ),
    mlflow(
        "Who may ask it, from inside the cluster alone",
        "client_namespaces monitoring_namespace",
        *alike(
            "network policy",
            lambda p: (
                [
                    peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                    for peer in values(p, POLICY, "spec.ingress.from")
                ]
                == ["training", "metrics"]
            ),
        ),
        change=asks(monitoring_namespace="metrics"),
    ),
    mlflow(
        "Several servers, of any size",
        "replicas workers cpu memory_gib",
        *alike(
            "Deployment",
            lambda p: (
                values(p, DEPLOYMENT, "spec.replicas") == [2]
                and "--workers 4" in words(p, DEPLOYMENT, f"{CONTAINERS}.args")
                and values(p, DEPLOYMENT, f"{CONTAINERS}.resources.limits.memory") == ["6144Mi"]
                and values(p, DEPLOYMENT, f"{CONTAINERS}.resources.requests.cpu") == ["2000m"]
            ),
        ),
        change=asks(workers=4, cpu=2, memory_gib=6),
    ),
    mlflow(
        "A database that refuses to go",
        "protect",
        Offered("deletion protection", lambda p: protected(p, RDS) and values(p, RDS, "deletionProtection") == [True]),
        Offered(
            "deletion protection",
            lambda p: protected(p, SQL) and values(p, SQL, "settings.deletionProtectionEnabled") == [True],
        ),
    ),
    *(
        sagemaker(
            title, arguments, Offered(how, proof), NotOffered(ABSENT, lambda args: args, "SageMaker is of aws alone")
        )
        for title, arguments, how, proof in (
            (
                "The retraining pipeline without a cluster",
                "definition parallel_steps",
                "SageMaker Pipelines",
                lambda p: (
                    values(p, PIPELINE, "parallelismConfiguration.maxParallelExecutionSteps") == [4]
                    and "ml.g6.xlarge" in words(p, PIPELINE, "pipelineDefinition")
                ),
            ),
            (
                "Its jobs use their own prefixes and nothing else",
                "bucket read_prefixes write_prefixes encryption_key",
                "execution role",
                lambda p: "arn:aws:s3:::sim-models/pipelines/*" in words(p, ROLE_POLICY, "policy"),
            ),
            (
                "It starts by itself",
                "schedule parameters",
                "EventBridge Scheduler",
                lambda p: (
                    values(p, SCHEDULE, "scheduleExpression") == ["cron(0 3 ? * SUN *)"]
                    and values(p, SCHEDULE, "target.sagemakerPipelineParameters.pipelineParameters.name") == ["Corpus"]
                ),
            ),
        )
    ),
    airflow(
        "Airflow in the cluster, each task a pod of its own",
        "airflow_version replicas",
        *alike(
            "official chart, KubernetesExecutor",
            lambda p: (
                values(p, RELEASE, "values.executor") == ["KubernetesExecutor"]
                and values(p, RELEASE, "values.airflowVersion") == ["3.3.1"]
                and values(p, RELEASE, "values.scheduler.replicas") == [2]
            ),
        ),
        change=asks(airflow_version="3.3.1"),
    ),
    airflow(
        "A database outside of it",
        "database.size database.storage_gib database.zonal_redundancy database.backup_days encryption_key",
        Offered("RDS", lambda p: values(p, RDS, "multiAz") == [True] and values(p, RDS, "dbName") == ["airflow"]),
        Offered("Cloud SQL", lambda p: values(p, SQL, "settings.availabilityType") == ["REGIONAL"]),
    ),
    airflow(
        "Logs in the bucket",
        "bucket bucket_url prefix",
        *alike(
            "remote logging",
            lambda p: values(p, RELEASE, "values.config.logging.remote_base_log_folder")[0].endswith("/flow/logs"),
        ),
        change=asks(prefix="flow"),
    ),
    airflow(
        "Tasks use their own prefixes and know no database",
        "read_prefixes write_prefixes",
        Offered(
            "role of their service account",
            lambda p: (
                "arn:aws:s3:::sim-models/pipelines/*"
                in words_of(p, "aws:iam/rolePolicy:RolePolicy", "tasks-identity-buckets", "policy")
            ),
        ),
        Offered(
            "IAM conditions",
            lambda p: "objects/pipelines/" in words(p, MEMBER, "condition.expression"),
        ),
    ),
    airflow(
        "It tells the tracking server, and Prometheus asks it",
        "tracking_namespace monitoring_namespace",
        *alike(
            "network policy",
            lambda p: (
                any("mlflow" in str(peer) for peer in values(p, POLICY, "spec.egress.to"))
                and any("metrics" in str(peer) for peer in values(p, POLICY, "spec.ingress.from"))
            ),
        ),
        change=asks(monitoring_namespace="metrics"),
    ),
    airflow(
        "The cloud's own",
        "managed size max_workers",
        Offered(
            "MWAA",
            lambda p: values(p, MWAA, "environmentClass") == ["mw1.medium"] and values(p, MWAA, "maxWorkers") == [7],
        ),
        Offered(
            "Cloud Composer 3",
            lambda p: (
                values(p, COMPOSER, "config.environmentSize") == ["ENVIRONMENT_SIZE_MEDIUM"]
                and values(p, COMPOSER, "config.workloadsConfig.worker.maxCount") == [7]
            ),
        ),
        change=lambda args: managed(args, size="medium", max_workers=7),
    ),
    airflow(
        "The cloud's own survives the loss of a zone",
        "zonal_redundancy",
        NotOffered("always", lambda args: managed(args, zonal_redundancy=True), "MWAA is in two zones anyway"),
        Offered("high resilience", lambda p: values(p, COMPOSER, "config.resilienceMode") == ["HIGH_RESILIENCE"]),
        change=lambda args: managed(args, zonal_redundancy=True),
    ),
    airflow(
        "A database that refuses to go",
        "protect",
        Offered("deletion protection", lambda p: protected(p, RDS)),
        Offered("deletion protection", lambda p: protected(p, SQL)),
    ),
    kubeflow(
        "A database of its own, which nothing outside its pod reaches",
        "storage_gib",
        *alike(
            "MySQL in the server's pod, on a volume",
            lambda p: (
                values(p, CLAIM, "spec.resources.requests.storage") == ["50Gi"]
                and "--bind-address=127.0.0.1"
                in words_of(p, DEPLOYMENT, "-server", "spec.template.spec.initContainers")
            ),
        ),
        change=asks(storage_gib=50),
    ),
    kubeflow(
        "Images of another registry",
        "images",
        *alike(
            "each part's own",
            lambda p: (
                values(p, DEPLOYMENT, "spec.template.spec.initContainers.image", "-server")
                == ["registry.example.com/mysql:8.4.6"]
            ),
        ),
        change=asks(images={"mysql": "registry.example.com/mysql:8.4.6"}),
    ),
    kubeflow(
        "Whoever deletes it is refused",
        "protect",
        *alike("the volume", lambda p: protected(p, CLAIM)),
    ),
    kubeflow(
        "Runs keep what they make in the bucket",
        "bucket_url prefix",
        Offered(
            "launchers are told the region",
            lambda p: values(p, CONFIG, "data.defaultPipelineRoot") == ["s3://sim-models/flows?region=us-east-1"],
        ),
        Offered(
            "gs://",
            lambda p: values(p, CONFIG, "data.defaultPipelineRoot") == ["gs://sim-models/flows"],
        ),
        change=asks(prefix="flows"),
    ),
    kubeflow(
        "Runs use their own prefixes and nothing else",
        "bucket read_prefixes write_prefixes encryption_key",
        Offered(
            "role of their service account",
            lambda p: "arn:aws:s3:::sim-models/models/*" in words(p, ROLE_POLICY, "policy"),
        ),
        Offered("IAM conditions", lambda p: "objects/models/" in words(p, MEMBER, "condition.expression")),
    ),
    kubeflow(
        "Who asks it, what runs tell, and Prometheus",
        "client_namespaces tracking_namespace monitoring_namespace",
        *alike(
            "network policy",
            lambda p: (
                "mlflow" in words(p, POLICY, "spec.egress.to")
                and "training" in words(p, POLICY, "spec.ingress.from")
                and "metrics" in words(p, POLICY, "spec.ingress.from")
            ),
        ),
        change=asks(monitoring_namespace="metrics"),
    ),
    trigger(
        "A model's traffic is watched, and a reason starts the pipeline",
        "model lake_prefix catalog policy every_s",
        *alike(
            "Deployment, and a Job of the CronJob's template",
            lambda p: (
                "--lake" in words(p, DEPLOYMENT, f"{CONTAINERS}.args")
                and "/requests --catalog" in words(p, DEPLOYMENT, f"{CONTAINERS}.args")
                and "--every-s 60" in words(p, DEPLOYMENT, f"{CONTAINERS}.args")
                and "usd_a_month" in words(p, "kubernetes:core/v1:ConfigMap", "data")
            ),
        ),
        change=asks(lake_prefix="requests", every_s=60),
    ),
    trigger(
        "The request log's tables in the cloud's own catalog",
        "",
        Offered("Glue", lambda p: "glue:UpdateTable" in words(p, ROLE_POLICY, "policy")),
        NotOffered(
            "no default; a REST catalog is named",
            lambda args: {key: value for key, value in args.items() if key != "catalog"},
            "gcp has none by default",
        ),
    ),
    trigger(
        "The pipeline itself, admitted like any training",
        "pipeline_image queue priority corpus_prefix repository_prefix runs_prefix parameters tracking_uri",
        *alike(
            "CronJob whose Jobs wait in the queue",
            lambda p: (
                "--champion registry" in words(p, CRONJOB, f"{RUN_CONTAINERS}.args")
                and "/flows/sentiment/$(JOB_NAME)" in words(p, CRONJOB, f"{RUN_CONTAINERS}.args")
                and "training-high" in words(p, CRONJOB, "spec.jobTemplate.metadata.labels")
            ),
        ),
        change=asks(priority="high", runs_prefix="flows", repository_prefix="models"),
    ),
    trigger(
        "It runs by the clock as well",
        "schedule",
        *alike(
            "CronJob",
            lambda p: (
                values(p, CRONJOB, "spec.suspend") == [False] and values(p, CRONJOB, "spec.schedule") == ["0 3 * * 0"]
            ),
        ),
        change=asks(schedule="0 3 * * 0"),
    ),
    trigger(
        "Machines for a run",
        "accelerator accelerators_per_node cpu memory_gib scratch_gib",
        *alike(
            "a GPU of any pool that has it",
            lambda p: (
                values(p, CRONJOB, f"{RUN_CONTAINERS}.resources.limits.memory") == ["12288Mi"]
                and values(p, CRONJOB, f"{RUN_CONTAINERS}.resources.requests.cpu") == ["3000m"]
            ),
        ),
        change=asks(accelerators_per_node=1, cpu=3, memory_gib=12, scratch_gib=32),
    ),
    trigger(
        "Its identities use their own prefixes",
        "bucket bucket_url encryption_key",
        Offered("roles", lambda p: "arn:aws:s3:::sim-models/lakehouse/*" in words(p, ROLE_POLICY, "policy")),
        Offered("IAM conditions", lambda p: "objects/lakehouse/" in words(p, MEMBER, "condition.expression")),
        change=lambda args: {**args, "encryption_key": "key"},
    ),
    trigger(
        "Versions are signed with a key that only the pipeline is given",
        "signing_secret",
        *alike(
            "Secret",
            lambda p: "own-key" in words(p, CRONJOB, "spec.jobTemplate.spec.template.spec.volumes"),
        ),
        change=asks(signing_secret="own-key"),
    ),
]
