"""Slips that what is told of databases, and of the loop's servers, finds."""

from __future__ import annotations

from tests.faults.fault import Fault, State, all_of, the

RDS, SQL = "aws:rds/instance:Instance", "gcp:sql/databaseInstance:DatabaseInstance"
DEPLOYMENT, POLICY = "kubernetes:apps/v1:Deployment", "kubernetes:networking.k8s.io/v1:NetworkPolicy"


def _publish(states: list[State]) -> None:
    the(states, RDS, "us-east-1-mlflow-database")["inputs"]["publiclyAccessible"] = True


def _forget_the_private_network(states: list[State]) -> None:
    for state in all_of(states, SQL, "us-central1-mlflow-database"):
        state["inputs"]["settings"]["ipConfiguration"] = {"ipv4Enabled": True}


def _keep_no_backups(states: list[State]) -> None:
    the(states, RDS, "us-east-1-mlflow-database")["inputs"]["backupRetentionPeriod"] = 0


def _leave_the_key_to_the_cloud(states: list[State]) -> None:
    for state in all_of(states, SQL, "europe-west4-mlflow-database"):
        state["inputs"].pop("encryptionKeyName")


def _write_the_password_down(states: list[State]) -> None:
    inputs = the(states, RDS, "us-east-1-mlflow-database")["inputs"]
    inputs["password"] = "not-a-real-password"


def _rename_the_watchers_account(states: list[State]) -> None:
    watcher = the(states, DEPLOYMENT, "us-east-1-retrain-sentiment-watcher")
    watcher["inputs"]["spec"]["template"]["spec"]["serviceAccountName"] = "retrain"


def _forget_the_policy_file(states: list[State]) -> None:
    watcher = the(states, DEPLOYMENT, "us-east-1-retrain-sentiment-watcher")
    for volume in watcher["inputs"]["spec"]["template"]["spec"]["volumes"]:
        if volume["name"] == "policy":
            volume["configMap"]["name"] = "policy"


def _unprotect(states: list[State]) -> None:
    the(states, RDS, "us-east-1-mlflow-database")["protect"] = False


FAULTS = (
    Fault("a database with an address in the internet", "dev", "databases-are-private", "mlflow-database", _publish),
    Fault("Cloud SQL without its private network", "staging", "databases-are-private", "us-central1-mlflow-database",
          _forget_the_private_network),
    Fault("a database without backups", "dev", "databases-have-backups", "mlflow-database", _keep_no_backups),
    Fault("Cloud SQL under Google's key", "prod", "databases-under-own-key", "europe-west4-mlflow-database",
          _leave_the_key_to_the_cloud),
    Fault("a database's password in the program", "dev", "database-passwords-are-nobodys", "mlflow-database",
          _write_the_password_down),
    Fault("a watcher whose account was renamed", "dev", "service-account-exists", "retrain-sentiment-watcher",
          _rename_the_watchers_account),
    Fault("a watcher without its policy", "dev", "config-key-exists", "retrain-sentiment-watcher",
          _forget_the_policy_file),
    Fault("a database that a slip deletes", "prod", "stateful-resources-are-protected", "us-east-1-mlflow-database",
          _unprotect),
)  # fmt: skip
