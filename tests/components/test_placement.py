"""Which models share a pod: the laws of a placement, and what is said where models do not fit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.accelerators import CATALOG
from components.inference.device import device, slice_gib
from components.inference.groups import GROUP_NAME
from components.inference.placement import Demand, Group, described, fits, place, too_large, usable_gib

GPU = 21.6

names = st.text("aXYZ019._-", min_size=1, max_size=24).map(lambda text: f"1{text}")
demands = st.lists(
    st.builds(Demand, names, st.floats(0, GPU), st.sampled_from([1, 1, 1, 2, 8])),
    max_size=40,
    unique_by=lambda demand: demand.model,
)


@given(demands)
def test_every_model_is_in_one_group(given_: list[Demand]) -> None:
    placed = [demand for group in place(given_, GPU) for demand in group.demands]
    assert sorted(placed, key=lambda demand: demand.model) == sorted(given_, key=lambda demand: demand.model)


@given(demands)
def test_no_group_is_above_its_memory_and_models_over_several_gpus_are_alone(given_: list[Demand]) -> None:
    for group in place(given_, GPU):
        assert group.demands
        assert group.gib <= GPU
        assert group.gpus == 1 or len(group.demands) == 1
        assert fits(group.demands, GPU)


@given(demands, st.randoms())
def test_the_order_in_which_models_are_given_does_not_matter(given_: list[Demand], chance: random.Random) -> None:
    other = list(given_)
    chance.shuffle(other)
    assert place(given_, GPU) == place(other, GPU) == place(given_, GPU)


@given(demands)
def test_no_two_groups_would_fit_into_one(given_: list[Demand]) -> None:
    """So there are never twice as many as are needed."""
    several = [group for group in place(given_, GPU) if group.gpus == 1]
    for index, one in enumerate(several):
        for other in several[index + 1 :]:
            assert one.gib + other.gib > GPU


@given(demands)
def test_each_group_has_a_name_of_its_own_that_kubernetes_accepts(given_: list[Demand]) -> None:
    found = [group.name for group in place(given_, GPU)]
    assert len(set(found)) == len(found)
    for name in found:
        assert GROUP_NAME.fullmatch(name), name


@given(demands)
def test_what_fits_together_is_one_group(given_: list[Demand]) -> None:
    if given_ and fits(given_, GPU):
        assert len(place(given_, GPU)) == 1


def test_groups_are_called_after_their_largest_model() -> None:
    found = place([Demand("Llama_3.1-8B", 18.0), Demand("bert", 2.0), Demand("clip", 5.0)], GPU)
    assert found == (
        Group("llama-3-1-8b", (Demand("Llama_3.1-8B", 18.0), Demand("bert", 2.0))),
        Group("clip", (Demand("clip", 5.0),)),
    )
    assert described(found) == "group 'llama-3-1-8b': Llama_3.1-8B, bert (20.0 GiB); group 'clip': clip (5.0 GiB)"


def test_what_fits_nowhere_is_said_with_what_would_hold_it() -> None:
    with pytest.raises(ValueError, match=r"llama takes 160.0 GiB of a GPU that has 72.0 .*; with gpus 4 it takes 40.0"):
        place([Demand("llama", 160.0)], 72.0)
    assert too_large(Demand("llama", 160.0), 72.0, several=False).endswith("take a larger one")
    assert too_large(Demand("llama", 9999.0), 72.0).endswith("take a larger one")
    with pytest.raises(ValueError, match="a model is there twice"):
        place([Demand("a", 1.0), Demand("a", 2.0)], GPU)


@given(st.floats(2, 1000))
def test_something_is_kept_of_every_gpu(memory: float) -> None:
    assert 0 < usable_gib(memory) <= memory - 1
    assert usable_gib(memory) <= memory * 0.9


# ---- slices


@pytest.mark.parametrize("key", [key for key, one in CATALOG.items() if one.mig_profiles])
def test_the_slices_of_a_gpu_are_no_more_than_the_gpu(key: str) -> None:
    for profile in CATALOG[key].mig_profiles:
        assert slice_gib(profile) * CATALOG[key].mig_partitions(profile) <= CATALOG[key].memory_gib * 1.03, profile


def test_a_slice_has_its_own_memory_and_a_share_has_its_part() -> None:
    whole = device("aws", "us-east-1", "a100-40gb", 1)
    cut = device("aws", "us-east-1", "a100-40gb", 1, mig_profile="1g.5gb")
    shared = device("aws", "us-east-1", "a100-40gb", 1, sharers=4)
    assert [one.memory_gib for one in (whole, cut, shared)] == [40, 5, 10]
    assert [one.pods_to_a_machine(1) for one in (whole, cut, shared)] == [8, 56, 32]
    assert (whole.nvlink, cut.nvlink) == (True, False)
    assert not device("aws", "us-east-1", "l4", 1).nvlink
