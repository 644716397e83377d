"""URNs, as Pulumi writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import urn as urns

part = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_/.", min_size=1, max_size=12)
types = st.builds("{}:{}:{}".format, part, part, part).filter(lambda t: "::" not in t)
names = st.text(min_size=1, max_size=20)


@given(stack=part, project=part, type=types, name=names)
def test_parse_is_the_inverse_of_create(stack, project, type, name):
    urn = urns.create(stack=stack, project=project, parent="", type=type, name=name)
    assert urns.parse(urn) == urns.Urn(stack, project, type, name)
    assert str(urns.parse(urn)) == urn


@given(outer=types, middle=types, inner=types, name=names)
def test_a_child_carries_its_ancestors_types(outer, middle, inner, name):
    parent = ""
    for type in (outer, middle, inner):
        parent = urns.create(stack="s", project="p", parent=parent, type=type, name=name)
    assert urns.parse(parent).qualified_type == f"{outer}${middle}${inner}"
    assert urns.parse(parent).type == inner


def test_the_stack_is_never_a_prefix():
    stack = urns.create(stack="dev", project="p", parent="", type=urns.STACK_TYPE, name="p-dev")
    child = urns.create(stack="dev", project="p", parent=stack, type="aws:ec2/vpc:Vpc", name="main")
    assert child == "urn:pulumi:dev::p::aws:ec2/vpc:Vpc::main"


def test_a_provider_reference_ends_with_its_id():
    urn = "urn:pulumi:dev::p::pulumi:providers:aws::default_7_51_1"
    assert urns.provider_urn(f"{urn}::04da6b54-80e4-46f7-96ec-b56ff0331ba9") == urn


@pytest.mark.parametrize("text", ["", "vpc", "urn:pulumi:dev::p::type", "arn:aws:s3:::bucket::x::y"])
def test_what_is_not_a_urn_is_refused(text):
    with pytest.raises(ValueError, match="not a URN"):
        urns.parse(text)
