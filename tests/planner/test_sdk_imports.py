"""Lazy service packages give what the ordinary ones give, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOOK = """
import json, sys
if sys.argv[1] == "lazy":
    from planner.engine import sdk_imports
    sdk_imports.install()
import pulumi_aws as aws, pulumi_gcp as gcp
{look}
print(json.dumps(found, default=str))
"""

LOOKS = {
    "dir": "aws.sqs.Queue; found = [n for n in dir(aws.sqs) if not n.startswith('_')]",
    "star": "exec('from pulumi_aws.sqs import *'); found = sorted(n for n in dir() if n[0].isupper() or 'get_' in n)",
    "kinds": "aws.kms.Key; found = [[n, type(vars(aws.kms)[n]).__name__] for n in dir(aws.kms) if n[0] != '_']",
    "origin": "gcp.dns.Policy; found = [str(vars(gcp.dns)[n]).split(' at ')[0] for n in dir(gcp.dns) if n[0] != '_']",
    "arguments": (
        "found = [c.__module__ for c in (aws.ec2.VpcArgs, aws.ec2.SecurityGroupIngressArgs, aws.s3.BucketArgs)]"
    ),
    "from imports": (
        "from pulumi_gcp.compute import Network, outputs; from pulumi_aws.ec2.vpc import Vpc; "
        "found = [Network.__module__, outputs.__name__, Vpc is aws.ec2.Vpc]"
    ),
    "what is not there": "found = [hasattr(aws.ec2, 'Vpcs'), hasattr(aws.ec2, '__all__'), hasattr(gcp.compute, 'vpc')]",
    "types": (
        "import pulumi._types as t; found = sorted([k, str(v)] for k, v in t.resource_types(aws.ec2.Instance).items())"
    ),
}


def looked(kind: str, look: str) -> list:
    command = [sys.executable, "-W", "ignore", "-c", LOOK.format(look=look), kind]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_lazy_package_is_like_the_ordinary_one(look):
    lazy = looked("lazy", look)
    assert lazy
    assert lazy == looked("ordinary", look)


def test_only_what_is_used_is_imported():
    look = "aws.ec2.Vpc; found = sorted(m for m in sys.modules if m.startswith('pulumi_aws.ec2.'))"
    assert looked("lazy", look) == ["pulumi_aws.ec2.vpc"]
    assert len(looked("ordinary", look)) > 100


def test_a_function_stays_one_when_its_module_is_imported():
    """The SDK itself would leave the module in its place."""
    look = "import pulumi_aws.ec2.get_ami; found = [callable(aws.ec2.get_ami), callable(aws.ec2.get_ami_output)]"
    assert looked("lazy", look) == [True, True]
