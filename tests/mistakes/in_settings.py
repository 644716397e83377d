"""Mistakes in what a person edits: `Pulumi.<environment>.yaml`."""

from tests.mistakes.mistake import DEV, STAGING, Mistake

DIGEST = "sha256:" + "0123456789abcdef" * 4

SETTINGS = (
    Mistake("required key misspelt", DEV, "ai-cloud:owner:", "ai-cloud:ownr:", ("ai-cloud:owner",)),
    Mistake(
        "optional key misspelt",
        DEV,
        "ai-cloud:protect:",
        "ai-cloud:protekt:",
        ("ai-cloud:protekt",),
    ),
    Mistake(
        "nested key misspelt",
        DEV,
        "localNvmeRaid: true\n      gpuSharing",
        "localNvmeRaids: true\n      gpuSharing",
        ("nodePools[1].localNvmeRaids",),
    ),
    Mistake(
        "block left out",
        DEV,
        "      max: 2\n      ladder:\n        - kind: spot\n",
        "      max: 2\n",
        ("ai-cloud:nodePools[1].ladder",),
    ),
    Mistake(
        "number in quotes", DEV, "min: 0\n      max: 2", 'min: "0"\n      max: 2', ("ai-cloud:nodePools[1].min", "'0'")
    ),
    Mistake(
        "heartbeat without its address",
        DEV,
        "    diskGib: 30\n",
        "    diskGib: 30\n    alerting:\n      heartbeat: true\n",
        ("ai-cloud:observabilitySecrets.heartbeatUrl", "pulumi config set --secret"),
    ),
    Mistake(
        "channel without its sign",
        STAGING,
        "    alerting:\n",
        "    alerting:\n      slackChannel: ml-alerts\n",
        ("ai-cloud:observability.alerting.slackChannel", "#ml-alerts"),
    ),
    Mistake("version without quotes", DEV, '"1.35"', "1.30", ("ai-cloud:kubernetesVersion", "1.3")),
    Mistake("version that is none", DEV, '"1.35"', '"one"', ("ai-cloud:kubernetesVersion", "one")),
    Mistake("no prefix length", DEV, "10.16.0.0/16", "10.16.0.0", ("ai-cloud:regions[0].cidr", "10.16.0.0")),
    Mistake("CIDR that is none", DEV, "10.16.0.0/16", "10.16.0.0/64", ("ai-cloud:regions[0].cidr", "10.16.0.0/64")),
    Mistake("CIDR with host bits", DEV, "10.16.0.0/16", "10.16.7.0/16", ("ai-cloud:regions[0].cidr", "10.16.7.0/16")),
    Mistake("CIDR too small", DEV, "10.16.0.0/16", "10.16.0.0/24", ("ai-cloud:regions[0].cidr", "/24")),
    Mistake("public CIDR", DEV, "10.16.0.0/16", "8.8.0.0/16", ("ai-cloud:regions[0].cidr", "8.8.0.0/16")),
    Mistake(
        "overlapping CIDRs", STAGING, "10.33.0.0/16", "10.32.128.0/17", ("ai-cloud:regions[1].cidr", "10.32.0.0/16")
    ),
    Mistake(
        "region twice",
        STAGING,
        "- region: gcp:us-central1\n      cidr",
        "- region: aws:us-west-2\n      cidr",
        ("ai-cloud:regions[1].region", "aws:us-west-2"),
    ),
    Mistake(
        "unknown region",
        DEV,
        "- region: aws:us-east-1\n      cidr",
        "- region: aws:us-east-9\n      cidr",
        ("regions[0].region", "us-east-9"),
    ),
    Mistake(
        "unknown cloud",
        DEV,
        "- region: aws:us-east-1\n      cidr",
        "- region: aw:us-east-1\n      cidr",
        ("regions[0].region", "aw:us-east-1"),
    ),
    Mistake(
        "unknown purpose",
        DEV,
        "[training, serving]",
        "[training, serveing]",
        ("ai-cloud:regions[0].purposes", "serveing"),
    ),
    Mistake("minimum above maximum", DEV, "min: 2", "min: 5", ("ai-cloud:nodePools[0].min", "5", "4")),
    Mistake(
        "unknown accelerator",
        DEV,
        "purpose: serving\n      accelerator: l4",
        "purpose: serving\n      accelerator: l5",
        ("ai-cloud:nodePools[1].accelerator", "l5"),
    ),
    Mistake(
        "accelerator of the other cloud",
        DEV,
        "purpose: serving\n      accelerator: l4",
        "purpose: serving\n      accelerator: tpu-v5e",
        ("ai-cloud:nodePools[1].accelerator", "tpu-v5e"),
    ),
    Mistake(
        "unknown machine type",
        DEV,
        "purpose: serving\n      accelerator: l4",
        "purpose: serving\n      accelerator: l4\n      machineType: g6.tiny",
        ("ai-cloud:nodePools[1].machineType", "g6.tiny"),
    ),
    Mistake(
        "unknown rung",
        DEV,
        "max: 2\n      ladder:\n        - kind: spot",
        "max: 2\n      ladder:\n        - kind: spots",
        ("ai-cloud:nodePools[1].ladder[0].kind", "spots"),
    ),
    Mistake(
        "reservation without its id",
        DEV,
        "kind: on-demand",
        "kind: reservation",
        ("ai-cloud:nodePools[0].ladder[0].reservations",),
    ),
    Mistake(
        "floor above maximum",
        STAGING,
        "ceiling: 3\n        - kind: on-demand\n          floor: 1  # one machine",
        "ceiling: 3\n        - kind: on-demand\n          floor: 9  # one machine",
        ("ai-cloud:nodePools[1].ladder[1].floor", "9"),
    ),
    Mistake(
        "pool twice in a region", DEV, "name: serving-l4", "name: system", ("ai-cloud:nodePools[1].name", "system")
    ),
    Mistake("unknown MIG profile", DEV, "mode: time-slicing", "mode: mig", ("ai-cloud:nodePools[1].gpuSharing",)),
    Mistake(
        "one pod sharing alone", DEV, "replicas: 2", "replicas: 1", ("ai-cloud:nodePools[1].gpuSharing.replicas", "1")
    ),
    Mistake(
        "colder too soon", DEV, "archiveAfterDays: 90", "archiveAfterDays: 40", ("storage.cold.archiveAfterDays", "40")
    ),
    Mistake(
        "copy in no region",
        DEV,
        "noncurrentDays: 7",
        "noncurrentDays: 7\n      replicateTo: {aws:us-east-1: aws:us-east-1}",
        ("ai-cloud:storage.cold.replicateTo", "aws:us-east-1"),
    ),
    Mistake(
        "zone id that is none", DEV, "Z0123456789EXAMPLE", "example.com", ("frontDoor.hostedZoneId", "example.com")
    ),
    Mistake("image without tag", DEV, f"serving:0.1.0@{DIGEST}", "serving", ("ai-cloud:serving.image",)),
    Mistake(
        "gateway among the servers",
        STAGING,
        "route: {}",
        "route: {namespace: serving}",
        ("ai-cloud:serving.route.namespace", "serving"),
    ),
    Mistake("administrator of no cloud", DEV, "arn:aws:iam::", "aws:iam::", ("ai-cloud:administrators[0]",)),
    Mistake("model that fits no pool", DEV, "gpus: 1", "gpus: 8", ("ai-cloud:models[0].gpus", "8")),
    Mistake(
        "more replicas than most",
        STAGING,
        "gpus: 1\n      minReplicas: 1",
        "gpus: 1\n      minReplicas: 9",
        ("ai-cloud:models[0].minReplicas", "9", "at most maxReplicas"),
    ),
    Mistake(
        "no replica, and nothing that starts one",
        DEV,
        "toZero: true",
        "toZero: false",
        ("ai-cloud:models[0].minReplicas", "or scaling.toZero"),
    ),
    Mistake(
        "replicas where there shall be none",
        DEV,
        "minReplicas: 0",
        "minReplicas: 1",
        ("ai-cloud:models[0].minReplicas", "since scaling.toZero is true"),
    ),
    Mistake(
        "gone before it came",
        DEV,
        "toZero: true",
        "toZero: true\n        idleS: 60",
        ("scaling.idle_s is 60", "in which a replica may take to start"),
        at="components/inference/scaling_checks.py",
    ),
    Mistake(
        "owner that nobody can write to", DEV, "ml-platform@example.com  # the", "ml  # the", ("ai-cloud:owner", "ml")
    ),
    Mistake(
        "YAML that is none",
        DEV,
        "purposes: [training, serving]",
        "purposes: [training, serving",
        ("stacks/Pulumi.dev.yaml",),
    ),
    Mistake(
        "weight of a region that isn't there",
        DEV,
        "hostedZoneId: Z0123456789EXAMPLE",
        "hostedZoneId: Z0123456789EXAMPLE\n    routingPolicy: weighted\n    weights: {aws:eu-west-1: 5}",
        ("ai-cloud:frontDoor.weights", "aws:eu-west-1"),
    ),
    Mistake(
        "machines that stand ready and are lent",
        STAGING,
        "weightsFromWarmTier: true",
        "warmMachines: {aws:us-west-2: 1}",
        ("serving.warmMachines", "aws:us-west-2", "lent to training"),
    ),
    Mistake(
        "cold start beyond its objective",
        STAGING,
        "coldStartObjectiveS: 450",
        "coldStartObjectiveS: 100",
        ("ai-cloud:serving.coldStartObjectiveS", "100", "node 300 s"),
    ),
    Mistake(
        "model larger than its share of a GPU",
        DEV,
        "sizeGib: 0.5",
        "sizeGib: 12",
        ("ai-cloud:models[0].sizeGib", "12", "10.8 for models"),
    ),
    Mistake(
        "tracking server of a size that there isn't",
        DEV,
        "        image: registry.example.com/ai-cloud/mlflow:3.17.2-1",
        "        database: {size: huge}\n        image: registry.example.com/ai-cloud/mlflow:3.17.2-1",
        ("ai-cloud:pipelines[0].mlflow.database.size", "huge", "small, medium, large"),
    ),
    Mistake(
        "retraining on an accelerator that no pool has",
        DEV,
        "corpus: datasets/text\n        accelerator: l4",
        "corpus: datasets/text\n        accelerator: b200",
        ("ai-cloud:pipelines[0].retraining.accelerator", "b200", "what pools in aws:us-east-1 have: l4"),
    ),
)
