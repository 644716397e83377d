"""Small plans: aliases, resource options, secrets, unknown values, references, providers; Pulumi's own decisions."""

import json

import pytest

from planner import reading
from planner.diff import compare
from planner.diff.properties import KNOWN_AFTER_APPLY
from planner.plan import SECRET, UNKNOWN, Plan, Resource

URN = "urn:pulumi:dev::shop::"
VPC, SUBNET, GROUP, QUEUE = (
    "aws:ec2/vpc:Vpc",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:sqs/queue:Queue",
)
UNLISTED = "aws:medialive/channel:Channel"
SECRET_ENVELOPE = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "AAAB"}


def resource(type, name, inputs=None, **more):
    return Resource(f"{URN}{type}::{name}", type, inputs=inputs or {}, **more)


def difference(old, new):
    """Compare two lists of resources."""
    return compare(Plan.of("shop", "dev", old), Plan.of("shop", "dev", new))


def change(old, new):
    """The only change."""
    [found] = difference([old], [new]).changes
    return found


def paths(found):
    return [(p.path, p.old, p.new) for p in found.properties]


# ---- aliases


def test_a_rename_with_an_alias_is_nothing_but_a_rename():
    old = resource(QUEUE, "old", {"delaySeconds": 1})
    new = resource(QUEUE, "new", {"delaySeconds": 1}, aliases=(old.urn,))
    found = change(old, new)
    assert (found.op, found.old_urn, found.notes) == ("rename", old.urn, ("was old: an alias keeps it",))


def test_what_refers_to_a_renamed_resource_does_not_change_though_made_up_ids_do():
    old = resource(VPC, "old", {"cidrBlock": "10.0.0.0/16"}, id="vpc-1111", outputs={"arn": "arn:aws:ec2:vpc/vpc-1111"})
    new = resource(VPC, "new", {"cidrBlock": "10.0.0.0/16"}, id="vpc-2222", outputs={"arn": "arn:aws:ec2:vpc/vpc-2222"},
                   aliases=(old.urn,))  # fmt: skip
    before = resource(SUBNET, "a", {"vpcId": "vpc-1111"}, property_dependencies={"vpcId": (old.urn,)})
    after = resource(SUBNET, "a", {"vpcId": "vpc-2222"}, property_dependencies={"vpcId": (new.urn,)})
    assert difference([old, before], [new, after]).counts == {"rename": 1}


def test_a_rename_without_an_alias_is_noticed():
    comparison = difference(
        [resource(QUEUE, "old", {"delaySeconds": 1})], [resource(QUEUE, "new", {"delaySeconds": 1})]
    )
    assert comparison.counts == {"create": 1, "delete": 1}
    [finding] = comparison.blocking
    assert (finding.rule, finding.message) == ("renames-have-aliases", "looks renamed without an alias, to new")


def test_an_alias_of_a_resource_that_is_still_there_takes_nothing_from_it():
    old = resource(QUEUE, "a")
    assert difference([old], [old, resource(QUEUE, "b", aliases=(old.urn,))]).counts == {"create": 1}


def test_another_type_with_an_alias_is_the_same_resource():
    old = resource("aws:s3/bucketV2:BucketV2", "logs", {"bucket": "logs"})
    new = resource("aws:s3/bucket:Bucket", "logs", {"bucket": "logs"}, aliases=(old.urn,))
    assert change(old, new).op == "rename"


# ---- options


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        ((), ["message", "tags.a", "tags.b"]),
        (("tags",), ["message"]),
        (("tags.a",), ["message", "tags.b"]),
        (('tags["a"]', "message"), ["tags.b"]),
        (("tags[*]",), ["message"]),
        (("*",), []),
    ],
)
def test_ignored_changes_are_none(ignored, left):
    old = resource(UNLISTED, "a", {"message": "x", "tags": {"a": "1", "b": "1"}})
    new = resource(UNLISTED, "a", {"message": "y", "tags": {"a": "2", "b": "2"}}, ignore_changes=ignored)
    found = difference([old], [new]).changes
    assert [p.path for c in found for p in c.properties] == left


def test_an_ignored_element_of_a_list_is_none():
    old = resource(UNLISTED, "a", {"rules": [{"port": 1}, {"port": 2}]})
    new = resource(UNLISTED, "a", {"rules": [{"port": 3}, {"port": 4}]}, ignore_changes=("rules[0].port",))
    assert paths(change(old, new)) == [("rules[1].port", 2, 4)]


def test_a_change_that_its_options_replace_for_is_a_replacement():
    old = resource(QUEUE, "a", {"tags": {"generation": "1"}})
    new = resource(QUEUE, "a", {"tags": {"generation": "2"}}, replace_on_changes=("tags.generation",))
    assert change(old, new).op == "replace"
    assert change(old, Resource(**{**_fields(new), "replace_on_changes": ()})).op == "update"


def _fields(one):
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_a_type_that_nobody_has_listed_may_be_replaced():
    found = change(resource(UNLISTED, "a", {"name": "x"}), resource(UNLISTED, "a", {"name": "y"}))
    assert (found.op, found.may_replace) == ("update", True)
    assert found.reasons == ("name: may need a replacement, only the provider decides",)
    tags = change(resource(UNLISTED, "a", {"tags": {"a": "1"}}), resource(UNLISTED, "a", {"tags": {"a": "2"}}))
    assert not tags.may_replace


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [({"name": "q", "fifoQueue": False}, {"name": "q", "fifoQueue": True}, True),
     ({"fifoQueue": False}, {"fifoQueue": True}, False),
     ({"name": "q-1234", "__defaults": ["name"]}, {"fifoQueue": True}, False)],
)  # fmt: skip
def test_a_given_name_makes_the_old_one_go_first(old, new, first):
    found = change(resource(QUEUE, "a", old), resource(QUEUE, "a", new))
    assert (found.op, found.deletes_first) == ("replace", first)
    forced = resource(QUEUE, "a", {**new, "fifoQueue": True}, delete_before_replace=True)
    assert change(resource(QUEUE, "a", {**old, "fifoQueue": False}), forced).deletes_first


def test_protected_resources_fail_unless_they_are_unprotected_in_the_same_change():
    old = resource(QUEUE, "a", {"fifoQueue": False}, protect=True)
    kept = resource(QUEUE, "a", {"fifoQueue": True}, protect=True)
    freed = resource(QUEUE, "a", {"fifoQueue": True})
    assert [f.rule for f in difference([old], [kept]).blocking] == ["protected-stays"]
    assert difference([old], [freed]).blocking == ()
    assert [f.rule for f in difference([old], []).blocking] == ["protected-stays"]


# ---- what follows


def chain():
    """A network, a subnet in it, a security group in it, and a queue that only waits for it."""
    vpc = resource(VPC, "net", {"cidrBlock": "10.0.0.0/16"}, id="vpc-0001")
    subnet = resource(SUBNET, "a", {"vpcId": "vpc-0001", "cidrBlock": "10.0.0.0/24"}, id="subnet-01",
                      property_dependencies={"vpcId": (vpc.urn,)})  # fmt: skip
    tagged = resource(UNLISTED, "b", {"tags": {"subnet": "subnet-01"}}, property_dependencies={"tags": (subnet.urn,)})
    queue = resource(QUEUE, "q", {"delaySeconds": 3}, dependencies=(vpc.urn,),
                     property_dependencies={"delaySeconds": (vpc.urn,)})  # fmt: skip
    within = resource(QUEUE, "w", deleted_with=vpc.urn)
    return vpc, subnet, tagged, queue, within


def test_a_replacement_spreads_along_the_values_that_hold_its_id_and_no_further():
    vpc, *others = chain()
    comparison = difference(
        [vpc, *others], [resource(VPC, "net", {"cidrBlock": "10.1.0.0/16"}, id="vpc-0001"), *others]
    )
    assert {c.name: (c.op, c.follows) for c in comparison.changes} == {
        "net": ("replace", False),
        "a": ("replace", True),
        "b": ("update", True),
        "w": ("replace", True),
    }
    subnet = next(c for c in comparison.changes if c.name == "a")
    assert [(p.path, p.old, p.new) for p in subnet.properties] == [
        ("vpcId", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}net.id\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
         KNOWN_AFTER_APPLY)]  # fmt: skip
    assert subnet.reasons == ("vpcId, which comes from net: cannot be changed in place",)


def test_an_update_spreads_no_further():
    vpc, *others = chain()
    new = resource(VPC, "net", {"cidrBlock": "10.0.0.0/16", "enableDnsSupport": True}, id="vpc-0001")
    assert difference([vpc, *others], [new, *others]).counts == {"update": 1}


def test_unknown_values_may_change_only_with_what_they_come_from():
    old_vpc, new_vpc = (resource(VPC, "net", {"cidrBlock": f"10.{n}.0.0/16"}) for n in (0, 1))
    known = resource(SUBNET, "a", {"vpcId": "vpc-real"}, property_dependencies={"vpcId": (old_vpc.urn,)})
    unknown = resource(SUBNET, "a", {"vpcId": UNKNOWN}, property_dependencies={"vpcId": (old_vpc.urn,)})
    assert not difference([old_vpc, known], [old_vpc, unknown]).changes
    assert difference([old_vpc, unknown], [new_vpc, unknown]).counts == {"replace": 2}


def test_dependencies_that_go_round_end():
    def ring(cidr):
        for name, other in ("ab", "ba"):
            inputs = {"vpcId": f"id-of-{other}", "cidrBlock": cidr if name == "a" else "x"}
            sources = {"vpcId": (f"{URN}{SUBNET}::{other}",)}
            yield resource(SUBNET, name, inputs, id=f"id-of-{name}", property_dependencies=sources)

    assert difference([*ring("x")], [*ring("y")]).counts == {"replace": 2}


def test_another_provider_may_replace_and_another_version_of_the_default_one_does_not():
    def through(name):
        return resource(QUEUE, "a", provider=f"{URN}pulumi:providers:aws::{name}::id")

    assert not difference([through("default_7_51_1")], [through("default_7_52_0")]).changes
    found = change(through("default_7_51_1"), through("frankfurt"))
    assert (found.op, found.may_replace, paths(found)) == (
        "update",
        True,
        [("provider", "default_7_51_1", "frankfurt")],
    )


# ---- values


def test_secrets_are_never_shown():
    old = {
        "password": "old",
        "plain": SECRET,
        "was": SECRET,
        "env": [{"name": "HF_TOKEN", "value": "a"}],
        "list": ["x"],
    }
    new = {
        "password": "new",
        "plain": "shown?",
        "was": None,
        "env": [{"name": "HF_TOKEN", "value": "b"}],
        "list": ["y"],
    }
    found = change(resource(UNLISTED, "a", old), resource(UNLISTED, "a", new))
    text = repr(found)
    assert all(hidden not in text for hidden in ("'old'", "'new'", "shown?", "'a', 'b'", "value='a'"))
    assert {p.path: (p.old, p.new) for p in found.properties} == {
        "env[HF_TOKEN].value": (SECRET, SECRET),
        "list[]": ("x", "y"),
        "password": (SECRET, SECRET),
        "plain": (SECRET, SECRET),
        "was": (SECRET, None),
    }


def test_data_of_a_kubernetes_secret_and_lines_of_scripts_are_hidden():
    kind = "kubernetes:core/v1:Secret"
    found = change(resource(kind, "a", {"data": {"k": "b2xk"}}), resource(kind, "a", {"data": {"k": "bmV3"}}))
    assert paths(found) == [("data.k", SECRET, SECRET)]
    old, new = ("#!/bin/sh\nexport API_TOKEN=abc\necho one\n", "#!/bin/sh\nexport API_TOKEN=def\necho two\n")
    [(path, before, after)] = paths(change(resource(QUEUE, "a", {"text": old}), resource(QUEUE, "a", {"text": new})))
    assert path == "text"
    assert "abc" not in before
    assert "def" not in after
    assert (before.splitlines()[1], after.splitlines()[1]) == ("echo one", "echo two")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"n": 3}, {"n": "3"}, []),
        ({"n": 3}, {"n": 3.0}, []),
        ({"v": "1.3"}, {"v": "1.30"}, [("v", "1.3", "1.30")]),
        ({"b": True}, {"b": 1}, [("b", True, 1)]),
        ({"x": None, "l": [], "o": {}}, {}, []),
        ({"l": ["a", "b"]}, {"l": ["b", "c", "d"]}, [("l[]", "a", None), ("l[]", None, "c"), ("l[]", None, "d")]),
        ({"l": ["a", "b"]}, {"l": ["b", "a"]}, [("l", ["a", "b"], ["b", "a"])]),
        ({"c": [{"name": "x", "i": 1}, {"name": "y", "i": 1}]}, {"c": [{"name": "y", "i": 2}, {"name": "x", "i": 1}]},
         [("c[y].i", 1, 2)]),
        ({"c": [{"name": "x"}]}, {"c": [{"name": "x"}, {"name": "y", "i": 1}]},
         [("c[y]", None, {"i": 1, "name": "y"})]),
        ({"p": '{"Statement": [{"Sid": "r", "Action": ["a"]}]}'},
         {"p": '{"Statement":[{"Action":["a","b"],"Sid":"r"}]}'},
         [("p.Statement[r].Action[]", None, "b")]),
        ({"a": {"b.c/d": "1"}}, {"a": {"b.c/d": "2"}}, [("a[b.c/d]", "1", "2")]),
        ({"name": "given-1234567", "__defaults": ["name"]}, {}, []),
        ({"deep": {"x": 1, "__defaults": ["x"]}, "tagsAll": {"a": "b"}}, {"deep": {}}, []),
    ],
)  # fmt: skip
def test_differences_are_told_by_a_path_that_can_be_read(old, new, expected):
    found = difference([resource(UNLISTED, "a", old)], [resource(UNLISTED, "a", new)]).changes
    assert [row for c in found for row in paths(c)] == expected


def test_what_kubernetes_adds_is_no_difference():
    kind = "kubernetes:core/v1:Namespace"
    real = {"apiVersion": "v1", "metadata": {"name": "a-1234", "labels": {"app.kubernetes.io/managed-by": "pulumi"},
                                             "annotations": {"pulumi.com/autonamed": "true"}}}  # fmt: skip
    assert not difference([resource(kind, "a", real)], [resource(kind, "a", {"apiVersion": "v1"})]).changes


def test_names_of_stacks_do_not_count():
    def plan(stack):
        return Plan.of("shop", stack, [Resource(f"urn:pulumi:{stack}::shop::{QUEUE}::a", QUEUE)])

    assert not compare(plan("dev"), plan("prod")).changes


# ---- Pulumi's own word


def test_a_preview_is_shown_as_pulumi_sees_it():
    def state(name, inputs):
        return {"urn": f"{URN}{QUEUE}::{name}", "type": QUEUE, "custom": True, "inputs": inputs}

    old, new = state("a", {"x": {"y": 1}}), state("a", {"x": {"y": 2}})
    kept, gone, came = state("kept", {}), state("gone", {}), state("came", {"secret": SECRET_ENVELOPE})
    drifted = state("drifted", {})
    replaced = {"urn": old["urn"], "oldState": old, "newState": new, "replaceReasons": ["x"], "diffReasons": ["x"],
                "detailedDiff": {"x.y": {"kind": "update-replace"}}}  # fmt: skip
    document = {
        "steps": [
            {**replaced, "op": "delete-replaced"},
            {**replaced, "op": "replace"},
            {**replaced, "op": "create-replacement"},
            {"op": "same", "urn": kept["urn"], "oldState": kept, "newState": kept},
            {"op": "delete", "urn": gone["urn"], "oldState": gone},
            {"op": "create", "urn": came["urn"], "newState": came},
            {"op": "update", "urn": drifted["urn"], "oldState": drifted, "newState": drifted,
             "detailedDiff": {"tags": {"kind": "delete"}}},
        ],
        "duration": 1,
    }  # fmt: skip
    digest = reading.digest_of(json.loads(json.dumps(document)))
    comparison = compare(digest.old, digest.new, digest.decisions)
    assert comparison.decided_by == "pulumi"
    assert {c.name: c.op for c in comparison.changes} == {
        "a": "replace", "gone": "delete", "came": "create", "drifted": "update"
    }  # fmt: skip
    found = next(c for c in comparison.changes if c.name == "a")
    assert (found.deletes_first, found.reasons) == (True, ("x.y: cannot be changed in place",))
    assert paths(found) == [("x.y", 1, 2)]
    assert paths(next(c for c in comparison.changes if c.name == "drifted")) == [("tags", None, KNOWN_AFTER_APPLY)]
