"""Statements of AWS' policies, as several components write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Statement = dict[str, Any]


def document(statements: Sequence[Mapping[str, Any]]) -> str:
    """A policy of these statements, as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: str, *resources: str) -> Statement:
    """`actions`: one or several, with spaces between them."""
    named = actions.split()
    return {
        "Effect": "Allow",
        "Action": named if len(named) > 1 else named[0],
        "Resource": list(resources) if len(resources) > 1 else resources[0],
    }


def through(service: str, region: str, statement: Statement) -> Statement:
    """Use of a key on behalf of one service only."""
    return {**statement, "Condition": {"StringLike": {"kms:ViaService": f"{service}.{region}.amazonaws.com*"}}}


def iam_governs(partition: str, account: str) -> Statement:
    """Of a key's policy: the account's own IAM policies say who may use the key."""
    return {
        "Sid": "IamGoverns",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }


def logs_may_use(partition: str, region: str, account: str, groups: str) -> Statement:
    """Of a key's policy: CloudWatch Logs encrypts with it the log groups of that name, which may have a `*`."""
    within = f"arn:{partition}:logs:{region}:{account}:log-group:{groups}"
    return {
        "Sid": "Logs",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
        "Resource": "*",
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": within}},
    }
