"""Plan files as they come: cut off, of other tools, mutated, huge. A PlanError that names the place, or a plan."""

import copy
import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner import reading
from planner.plan import Plan, PlanError

STACK_URN = "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev"
STACK = {"urn": STACK_URN, "custom": False, "type": "pulumi:pulumi:Stack", "outputs": {"url": "x"}}
BUCKET = {
    "urn": "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::logs",
    "custom": True,
    "id": "logs",
    "type": "aws:s3/bucket:Bucket",
    "inputs": {"bucket": "logs", "tags": {"a": "b"}, "rules": [{"n": 1}]},
    "outputs": {"arn": "arn:aws:s3:::logs"},
    "parent": STACK_URN,
    "provider": "urn:pulumi:dev::shop::pulumi:providers:aws::default::id",
    "dependencies": [STACK_URN],
    "propertyDependencies": {"bucket": [STACK_URN]},
    "aliases": ["urn:pulumi:dev::shop::aws:s3/bucket:Bucket::old"],
    "customTimeouts": {"create": 60},
}
EXPORT = {
    "version": 3,
    "deployment": {"resources": [STACK, BUCKET]},
    "aicloud": {
        "project": "shop",
        "stack": "dev",
        "config": {"aws:region": "us-east-1"},
        "diagnostics": [{"severity": "warning", "message": "m"}],
    },
}
STEP = {
    "op": "replace",
    "urn": BUCKET["urn"],
    "oldState": BUCKET,
    "newState": {**BUCKET, "inputs": {"bucket": "more-logs"}},
    "replaceReasons": ["bucket"],
    "diffReasons": ["bucket"],
    "detailedDiff": {"bucket": {"kind": "update-replace", "inputDiff": False}},
}
DIGEST = {
    "config": {"aws:region": "us-east-1"},
    "steps": [
        {"op": "same", "urn": STACK_URN, "oldState": STACK, "newState": STACK},
        {**STEP, "op": "create-replacement"},
        STEP,
        {**STEP, "op": "delete-replaced"},
    ],
    "diagnostics": [{"severity": "info#err", "message": "hello\n"}],
    "duration": 3,
    "changeSummary": {"replace": 1},
}


def broken(document, path, value):
    """A copy with another value at a path."""
    document = json.loads(json.dumps(document))
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    return json.dumps(document)


RESOURCES = ("deployment", "resources")
ONE = (*RESOURCES, 1)


@pytest.mark.parametrize(
    ("document", "path", "value", "message"),
    [
        (EXPORT, RESOURCES, 3, r"deployment.resources: is the number 3: 3; expected a list"),
        (EXPORT, ("deployment",), [], r"deployment: is a list: \[\]; expected an object"),
        (EXPORT, ("version",), True, r"version True of a stack export"),
        (
            EXPORT,
            (*ONE, "inputs"),
            [],
            r"deployment.resources\[1\] \(logs\).inputs: is a list: \[\]; expected an object",
        ),
        (EXPORT, (*ONE, "dependencies"), "x", r"\(logs\).dependencies: is text: \"x\"; expected a list"),
        (EXPORT, (*ONE, "dependencies"), [7], r"\(logs\).dependencies\[0\]: is the number 7"),
        (EXPORT, (*ONE, "propertyDependencies", "bucket"), 7, r"propertyDependencies.bucket: is the number 7"),
        (EXPORT, (*ONE, "customTimeouts", "create"), "1m", r"customTimeouts.create: is text"),
        (EXPORT, (*ONE, "custom"), 1, r"\(logs\).custom: is the number 1: 1; expected true or false"),
        (EXPORT, (*ONE, "urn"), "logs", r"deployment.resources\[1\]: not a URN: 'logs'"),
        (EXPORT, (*ONE, "urn"), STACK_URN, r"two resources have the URN"),
        (EXPORT, (*ONE, "parent"), BUCKET["urn"], r"is its own parent: logs -> logs"),
        (EXPORT, ("aicloud",), 7, r"aicloud: is the number 7"),
        (EXPORT, ("aicloud", "config"), "x", r"aicloud.config: is text"),
        (EXPORT, ("aicloud", "config", "aws:region"), 7, r"aicloud.config.aws:region: is the number 7.*JSON as text"),
        (EXPORT, ("aicloud", "diagnostics"), {}, r"aicloud.diagnostics: is an object"),
        (DIGEST, ("steps", 1), "x", r"steps\[1\]: is text; expected an object"),
        (DIGEST, ("steps", 1, "newState"), 7, r"steps\[1\].newState: is the number 7"),
        (DIGEST, ("steps", 2, "newState", "inputs"), 7, r"steps\[2\].newState \(logs\).inputs: is the number 7"),
        (DIGEST, ("steps", 2, "detailedDiff"), [], r"steps\[2\].detailedDiff: is a list"),
        (DIGEST, ("config",), [], r"config: is a list"),
        (DIGEST, ("diagnostics",), {"a": 1}, r"diagnostics: is an object"),
    ],
)
def test_what_has_a_wrong_type_is_named_with_its_place(document, path, value, message):
    with pytest.raises(PlanError, match=message):
        Plan.from_json(broken(document, path, value))


def test_a_cycle_of_parents_is_refused_with_its_members():
    a, b = ({**BUCKET, "urn": BUCKET["urn"] + name, "parent": BUCKET["urn"] + other} for name, other in ("ab", "ba"))
    with pytest.raises(PlanError, match="is its own parent: logsa -> logsb -> logsa"):
        Plan.from_json(json.dumps({"version": 3, "deployment": {"resources": [STACK, a, b]}}))


@pytest.mark.parametrize("key", ["inputs", "dependencies", "propertyDependencies", "parent", "customTimeouts"])
def test_null_is_as_good_as_nothing(key):
    plan = Plan.from_json(broken(EXPORT, (*ONE, key), None))
    assert len(plan) == 2


def test_a_checkpoint_and_a_streamed_preview_are_told_apart_from_rubbish():
    with pytest.raises(PlanError, match="`pulumi stack export` writes what can be read"):
        Plan.from_json('{"version": 3, "checkpoint": {}}')
    with pytest.raises(PlanError, match="several documents; a streamed preview"):
        Plan.from_json('{"sequence": 0}\n{"sequence": 1}')


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"version": 3, "deployment": {"resources": [' + '{"a":' * 100_000, "9" * 5_000, '{"steps": NaN}'],
)
def test_what_only_a_parser_trips_over_is_refused(text):
    with pytest.raises(PlanError):
        Plan.from_json(text)


def test_inputs_that_nest_more_deeply_than_the_reader_are_refused():
    deep = '{"a":' * 700 + "1" + "}" * 700
    with pytest.raises(PlanError, match="more deeply"):
        Plan.from_json(json.dumps(EXPORT).replace('{"bucket": "logs"', '{"deep": ' + deep + ', "bucket": "logs"'))


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_read():
    with pytest.raises(PlanError, match="not Unicode"):
        Plan.from_json(json.dumps(EXPORT).replace('"bucket": "logs"', r'"bucket": "\ud800"'))
    plan = Plan.from_json(json.dumps(EXPORT).replace('"bucket": "logs"', r'"bucket": "\ud83d\ude00"'))
    assert plan.one(BUCKET["type"]).inputs["bucket"] == "😀"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_powershell_are_read(tmp_path, encoding):
    (tmp_path / "plan.json").write_text(json.dumps(EXPORT), encoding=encoding)
    assert len(Plan.read(tmp_path / "plan.json")) == 2


def test_a_preview_keeps_what_pulumi_decided():
    digest = reading.digest_of(copy.deepcopy(DIGEST))
    assert digest.old.one(BUCKET["type"]).inputs["bucket"] == "logs"
    assert digest.new.one(BUCKET["type"]).inputs == {"bucket": "more-logs"}
    decision = digest.decisions[BUCKET["urn"]]
    assert (decision.op, decision.replace_reasons, decision.deletes_first) == ("replace", ("bucket",), False)
    assert decision.detailed == {"bucket": "update-replace"}
    assert digest.decisions[STACK_URN].op == "same"
    assert [d.severity for d in digest.new.diagnostics] == ["info"]
    assert digest.new.config == {"aws:region": "us-east-1"}


def test_a_preview_without_changes_has_no_steps():
    assert len(Plan.from_json('{"config": {}, "duration": 3, "changeSummary": {"same": 9}}')) == 0


# ---- whatever else there may be

RUBBISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)


def places(value, path=()):
    """Every path into a document."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


@st.composite
def mutations(draw):
    document = json.loads(json.dumps(draw(st.sampled_from([EXPORT, DIGEST]))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(document), key=str) or [()]))
        owner = document
        for key in path[:-1]:
            owner = owner[key]
        if not path:
            continue
        if draw(st.booleans()):
            del owner[path[-1]]
        else:
            # Rubbish, or another part of the same document in a place where it does not belong.
            another = st.sampled_from([STACK, BUCKET, [BUCKET], BUCKET["urn"], STEP, [], {}])
            owner[path[-1]] = copy.deepcopy(draw(RUBBISH | another))
    return document


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations(), st.integers(0, 40))
def test_any_mutation_is_a_plan_or_a_plan_error(document, cut):
    text = json.dumps(document)
    text = text[: len(text) - cut] if cut > 30 else text
    try:
        plan = Plan.from_json(text)
    except PlanError:
        return
    # What was read can be walked through, and written and read again.
    for resource in plan:
        assert resource.name is not None
        assert resource.place is not None
        list(plan.under(resource.urn))
    assert Plan.from_json(plan.to_json()).resources == plan.resources


LARGE = """
import json, resource, sys, time
from planner.plan import Plan
start = time.process_time()
plan = Plan.read(sys.argv[1])
print(json.dumps([len(plan), time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


@pytest.mark.slow
def test_a_file_of_100_mb_is_read_in_linear_time(tmp_path):
    """Measured in a process of its own; the bounds are three times what a small machine needed."""
    state = {**BUCKET, "inputs": {**BUCKET["inputs"], "policy": "x" * 700}}
    count = 100_000_000 // len(json.dumps(state))
    states = [{**state, "urn": f"{BUCKET['urn']}-{index}"} for index in range(count)]
    path = tmp_path / "large.json"
    path.write_text(json.dumps({"version": 3, "deployment": {"resources": [STACK, *states]}}))
    size = path.stat().st_size / 1e6
    done = subprocess.run([sys.executable, "-c", LARGE, str(path)], capture_output=True, text=True, check=True)
    resources, seconds, megabytes = json.loads(done.stdout)
    print(f"\n{size:.0f} MB, {resources:,} resources: {seconds:.1f} CPU s, at most {megabytes:,.0f} MB of memory")
    assert size > 99
    assert resources == count + 1
    assert seconds < 30
    assert megabytes < 3_000
    # Cut off in the middle, it says so, and where.
    path.write_bytes(path.read_bytes()[:60_000_000])
    with pytest.raises(PlanError, match=r"large.json: not JSON \(line 1, column \d{8}.*is it cut off\?"):
        Plan.read(path)
