"""The rules of a route: every request has one answer, shares add up, experiments take what is theirs and no more."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.inference import route_proxies
from components.inference.route_rules import (
    WEIGHTS_TOTAL,
    Backend,
    Experiment,
    Group,
    Mirror,
    Timeouts,
    cookie_pattern,
    in_order,
    rules,
)
from tests.components.gateway_api import Request, chosen, matching
from tests.workloads.rollout import test_gateway as of_rollouts
from workloads.rollout import evidence, observation

PATHS, EXACT = ("/v2/health", "/v2/models"), ("/v2",)
TIMEOUTS = Timeouts(300, 60)
NAMES = ("stable", "canary", "third")
MODELS = ("bert", "bert-large", "resnet50")
TOKENS = st.sampled_from(["a", "b", "x", "on"])


def route(group: Group, experiments: list[Experiment]) -> list[dict[str, Any]]:
    return rules(group, experiments, TIMEOUTS, paths=PATHS, exact=EXACT)


@st.composite
def groups(draw: st.DrawFn, model: str) -> Group:
    count = draw(st.integers(1, len(NAMES)))
    cuts = sorted(draw(st.lists(st.integers(0, WEIGHTS_TOTAL), min_size=count - 1, max_size=count - 1)))
    weights = [high - low for low, high in zip([0, *cuts], [*cuts, WEIGHTS_TOTAL], strict=True)]
    backends = tuple(
        Backend(name, "serving", f"{name}-{model or 'any'}", 8000, weight)
        for name, weight in zip(NAMES, weights, strict=False)
    )
    idle = [backend.name for backend in backends if not backend.weight]
    mirrored = draw(st.booleans()) and idle
    return Group(model, backends, Mirror(idle[0], draw(st.integers(1, 100))) if mirrored else None)


@st.composite
def conditions(draw: st.DrawFn, index: int) -> Experiment:
    pair = (draw(st.sampled_from(["x-variant", "X-Team"])), draw(TOKENS))
    cookie = (draw(st.sampled_from(["variant", "side"])), draw(TOKENS))
    by_header = draw(st.booleans())
    return Experiment(
        f"experiment-{index}",
        draw(st.sampled_from(NAMES)),
        pair if by_header else None,
        None if by_header else cookie,
        draw(st.sampled_from(["", *MODELS])),
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Group], list[Experiment]]:
    served = draw(st.lists(st.sampled_from(MODELS), unique=True))
    made = [draw(groups(model)) for model in ("", *served)]
    return made, [draw(conditions(index)) for index in range(draw(st.integers(0, 4)))]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    path = draw(
        st.sampled_from(
            [
                "/v2",
                "/v2/health/ready",
                "/v2/models",
                *(f"/v2/models/{model}" for model in (*MODELS, "unknown")),
                *(f"/v2/models/{model}/versions/3/infer" for model in (*MODELS, "unknown")),
            ]
        )
    )
    headers = draw(st.dictionaries(st.sampled_from(["x-variant", "x-team"]), TOKENS))
    cookies = draw(st.dictionaries(st.sampled_from(["variant", "side", "other", "my-variant"]), TOKENS))
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return Request(path, headers)


def _cookies(request: Request) -> set[tuple[str, str]]:
    pairs = filter(None, request.headers.get("cookie", "").split("; "))
    return {(name, value) for name, _, value in (pair.partition("=") for pair in pairs)}


def _meant(one: Experiment, request: Request) -> bool:
    if one.header is not None:
        return request.headers.get(one.header[0].lower()) == one.header[1]
    return one.cookie in _cookies(request)


def _group_of(made: list[Group], request: Request) -> Group:
    parts = request.path.split("/")
    model = parts[3] if parts[:3] == ["", "v2", "models"] and len(parts) > 3 else ""
    return next((group for group in made if group.model and group.model == model), made[0])


@given(tables(), requests())
def test_every_request_goes_where_it_shall(table: tuple[list[Group], list[Experiment]], request: Request) -> None:
    made, experiments = table
    routes = [route(group, experiments) for group in made]
    group = _group_of(made, request)
    expected = [one for one in in_order(experiments, group) if _meant(one, request)]
    for exact_headers_first in (False, True):
        rule = chosen(routes, request, exact_headers_first=exact_headers_first)
        assert rule is not None
        shares = {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}
        assert sum(shares.values()) == WEIGHTS_TOTAL
        by_name = {backend.name: backend.service for backend in group.backends}
        if expected:
            # The first one's backend gets all of it, and nobody else a copy.
            assert shares == {by_name[expected[0].backend]: WEIGHTS_TOTAL}
            assert "filters" not in rule
        else:
            assert shares == {backend.service: backend.weight for backend in group.backends}
            copies = [one["requestMirror"]["backendRef"]["name"] for one in rule.get("filters", [])]
            assert copies == ([by_name[group.mirror.backend]] if group.mirror else [])


@given(tables(), requests())
def test_a_request_matches_the_weighted_rule_of_one_list_at_its_longest_path(
    table: tuple[list[Group], list[Experiment]], request: Request
) -> None:
    """So which rule answers never hangs on the age or the name of a route."""
    made, experiments = table
    lists = [[rule] for rule in (route(group, experiments)[-1] for group in made)]
    found = matching(lists, request)
    longest = max(
        len(match["path"]["value"]) for rule in found for match in rule["matches"] if _under(match["path"], request)
    )
    ties = [
        rule
        for rule in found
        if any(_under(m["path"], request) and len(m["path"]["value"]) == longest for m in rule["matches"])
    ]
    assert len(ties) == 1


def _under(path: dict[str, str], request: Request) -> bool:
    return request.path == path["value"] or (
        path["type"] == "PathPrefix" and request.path.startswith(f"{path['value']}/")
    )


@given(tables(), st.sampled_from(["/", "/v2/repository/index", "/v2/modelsx", "/metrics", "/v2/logging", "/v1/models"]))
def test_nothing_else_is_let_through(table: tuple[list[Group], list[Experiment]], path: str) -> None:
    made, experiments = table
    assert chosen([route(group, experiments) for group in made], Request(path)) is None


@given(st.permutations(range(3)))
def test_routes_may_be_of_any_age(order: list[int]) -> None:
    made = [Group(model, (Backend("stable", "s", model or "any", 8000, 100),)) for model in ("", "bert", "bert-large")]
    routes = [route(made[index], []) for index in order]
    for model, path in (("any", "/v2/models/other/infer"), ("bert", "/v2/models/bert"), ("bert-large",) * 2):
        rule = chosen(routes, Request(path if path.startswith("/") else f"/v2/models/{path}/infer"))
        assert rule is not None
        assert rule["backendRefs"][0]["name"] == model


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("variant=b", True),
        ("session=1; variant=b", True),
        ("variant=b; session=1", True),
        ("a=1; variant=b; c=3", True),
        ("a=1;variant=b", True),
        ("variant=bb", False),
        ("myvariant=b", False),
        ("my-variant=b", False),
        ("variant=a; other=variant=b", False),
        ("", False),
    ],
)
def test_a_cookie_is_found_wherever_it_stands_and_nothing_else(header: str, found: bool) -> None:
    rule = {"matches": [{"headers": [{"type": "RegularExpression", "name": "cookie",
                                      "value": cookie_pattern("variant", "b")}]}]}  # fmt: skip
    assert (chosen([[rule]], Request("/", {"cookie": header})) is rule) == found


def test_a_cookie_is_taken_as_it_is_written() -> None:
    assert cookie_pattern("a.b", "1+1") == r"(.*; *)?a\.b=1\+1( *;.*)?"


def test_rules_say_how_long_a_request_may_take_and_whose_they_are() -> None:
    group = Group("bert", (Backend("stable", "serving", "triton", 8000, 100),))
    (rule,) = route(group, [])
    assert rule["timeouts"] == {"request": "300s", "backendRequest": "60s"}
    (reference,) = rule["backendRefs"]
    # A filter of its own is what has Envoy count it apart.
    assert reference.pop("filters") == [
        {
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier": {"set": [{"name": "x-served-by", "value": "stable"}]},
        }
    ]
    assert reference == {
        "group": "",
        "kind": "Service",
        "name": "triton",
        "namespace": "serving",
        "port": 8000,
        "weight": 100,
    }
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v2/models/bert"}}]


@pytest.mark.parametrize("mirror", ["", "canary"])
def test_a_rollout_knows_the_rules_that_it_changes(mirror: str) -> None:
    """Components and workloads do not know each other; what a rollout is tested against is what is made here."""
    backends = tuple(
        Backend(name, "serving", f"{name}-lm", 8000, weight)
        for name, weight in (("stable", 100), ("canary", 0), ("shadow", 0))
    )
    group = Group("lm", backends, Mirror(mirror, 5) if mirror else None)
    assert route(group, [Experiment("testers", "canary", ("x-variant", "canary"))]) == (
        of_rollouts.program_s_rules(mirror)
    )


def test_latencies_are_counted_in_buckets_of_a_rollout_s() -> None:
    """So a p99 that is 20 % longer, the usual margin, is in a later bucket here and there."""
    value = json.loads(route_proxies.bootstrap()["value"])
    (setting,) = value["stats_config"]["histogram_bucket_settings"]
    assert setting["match"] == {"suffix": "upstream_rq_time"}
    seconds = [bound / 1e3 for bound in setting["buckets"]]
    assert seconds[0] < 2e-3 < 300 < seconds[-1]
    for shorter, longer in pairwise(seconds):
        assert observation.bucket_of(longer * 0.999) == observation.bucket_of(shorter * 0.999) + evidence.buckets_of(
            0.2
        )
        # One of ours ends there.
        assert observation.bucket_of(longer * 0.999) + 1 == observation.bucket_of(longer * 1.001)
