"""What InferenceRoute accepts: a route that would send requests nowhere is refused where it is written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from components.inference.clouds import CLOUDS
from components.inference.route_rules import (
    MODELS_PATH,
    MOST_MATCHES,
    MOST_RULES,
    WEIGHTS_TOTAL,
    Backend,
    Experiment,
    Group,
    Mirror,
    Timeouts,
)
from components.inference.traffic import HTTP
from components.routing.front import HEALTH_PATH, RESPONSE_TIMEOUT

if TYPE_CHECKING:
    from components.inference.inference_route import InferenceRouteArgs

PROGRAM, ROLLOUT = "program", "rollout"
"""Who sets the weights."""

DEFAULT_PATHS = ("/v2/health", MODELS_PATH)
SERVER_METADATA = "/v2"
DEFAULT_RETRIES = 2
DEFAULT_MIN_REPLICAS, DEFAULT_MAX_REPLICAS = 2, 6
DEFAULT_CPU, DEFAULT_MEMORY_GIB = 0.5, 0.5

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PATH = re.compile(r"/|(/[-A-Za-z0-9._~!$&()*+,;=:@]+)+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE = re.compile(r"[!-~]+([\t ]?[!-~]+)*")
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")
"""RFC 6265, cookie-octet: no quotes, commas, semicolons or backslashes."""


@dataclass(frozen=True)
class Route:
    """The arguments, once all of them are found good."""

    groups: tuple[Group, ...]
    """The first is that of requests that name no model of its own."""
    experiments: tuple[Experiment, ...]
    timeouts: Timeouts
    paths: tuple[str, ...]
    exact: tuple[str, ...]
    weights_by: str

    @property
    def backends(self) -> tuple[Backend, ...]:
        """Every Service that is routed to, once."""
        return tuple({(b.namespace, b.service): b for group in self.groups for b in group.backends}.values())


def checked_route(name: str, args: InferenceRouteArgs) -> Route:
    """ValueError names the component, the argument, its value and what is accepted."""
    refuse = _Refusal(f"InferenceRoute {name!r}")
    if args["cloud"] not in CLOUDS:
        refuse("cloud", args["cloud"], f"accepted are {', '.join(map(repr, CLOUDS))}")
    for argument in ("namespace", "service", "monitoring_namespace"):
        refuse.unless(_NAME, argument, str(args.get(argument, name)), "a Kubernetes name of up to 63 a-z, 0-9 and -")
    refuse.unless(_NAME, "name", name, "a Kubernetes name of up to 63 a-z, 0-9 and -")
    for index, host in enumerate(args.get("hostnames", [])):
        refuse.unless(_HOST, f"hostnames[{index}]", host, "a domain in lower case, such as inference.example.com")
    _networks(refuse, args["client_cidrs"])
    default = Group("", _backends(refuse, "backends", args), _mirror(refuse, "mirror", args))
    groups = (default, *_models(refuse, args))
    for group in groups[1:]:
        for backend in group.backends:
            if backend.namespace == args["namespace"]:
                refuse("namespace", backend.namespace, "one of its own: a backend is there already")
    for backend in default.backends:
        if backend.namespace == args["namespace"]:
            refuse("namespace", backend.namespace, "one of its own: a backend is there already")
    paths = tuple(args.get("paths", DEFAULT_PATHS))
    health = args.get("health_check_path", HEALTH_PATH)
    for argument, path in (("health_check_path", health), *((f"paths[{i}]", path) for i, path in enumerate(paths))):
        refuse.unless(_PATH, argument, path, "a path such as /v2/models, with no slash at its end")
    exact = tuple(path for path in dict.fromkeys((SERVER_METADATA, health)) if not under(path, paths))
    route = Route(
        groups,
        _experiments(refuse, args, groups, len(paths) + len(exact)),
        _timeouts(refuse, args),
        paths,
        exact,
        args.get("weights_by", PROGRAM),
    )
    if route.weights_by not in (PROGRAM, ROLLOUT):
        refuse("weights_by", route.weights_by, f"accepted are {PROGRAM!r} and {ROLLOUT!r}")
    if "rollout" in args and route.weights_by != ROLLOUT:
        refuse(
            "rollout", dict(args["rollout"]), f"accepted with weights_by {ROLLOUT!r} only: else the program overrules"
        )
    _proxies(refuse, args)
    return route


def under(path: str, prefixes: Iterable[str]) -> bool:
    """Whether a path is one of the prefixes, or below one, whole segments at a time."""
    return any(prefix == "/" or path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


class _Refusal:
    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, argument: str, value: object, accepted: str) -> NoReturn:
        raise ValueError(f"{self._where}: {argument} is {value!r}; {accepted}")

    def unless(self, pattern: re.Pattern[str], argument: str, value: str, accepted: str) -> None:
        if not pattern.fullmatch(value):
            self(argument, value, f"accepted is {accepted}")

    def number(self, argument: str, value: float, least: float, most: float, accepted: str) -> None:
        if not least <= value <= most:
            self(argument, value, f"accepted is {accepted}")


def _networks(refuse: _Refusal, cidrs: Sequence[str]) -> None:
    if not cidrs:
        # An empty list of peers allows everyone, in Kubernetes.
        refuse("client_cidrs", [], "give at least one network, such as the region's own CIDR")
    for index, cidr in enumerate(cidrs):
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            refuse(f"client_cidrs[{index}]", cidr, f"expected a network such as 10.0.0.0/16: {error}")


def _backends(refuse: _Refusal, path: str, owner: Mapping[str, Any]) -> tuple[Backend, ...]:
    found: dict[str, Backend] = {}
    if not owner["backends"]:
        refuse(path, [], "give at least one")
    for index, given in enumerate(owner["backends"]):
        here = f"{path}[{index}]"
        for key in ("name", "namespace", "service"):
            refuse.unless(_NAME, f"{here}.{key}", given[key], "a Kubernetes name of up to 63 a-z, 0-9 and -")
        refuse.number(f"{here}.weight", given["weight"], 0, WEIGHTS_TOTAL, f"0 to {WEIGHTS_TOTAL} percent")
        refuse.number(f"{here}.port", given.get("port", HTTP), 1, 65535, "1 to 65535")
        if not given["labels"]:
            refuse(f"{here}.labels", {}, "give the labels of its pods: without any, the policy would mean all pods")
        if given["name"] in found:
            refuse(f"{here}.name", given["name"], "each name once; it is there already")
        found[given["name"]] = Backend(
            given["name"],
            given["namespace"],
            given["service"],
            int(given.get("port", HTTP)),
            int(given["weight"]),
            dict(given["labels"]),
        )
    weights = [backend.weight for backend in found.values()]
    if sum(weights) != WEIGHTS_TOTAL:
        refuse(path, weights, f"accepted are weights that add up to {WEIGHTS_TOTAL}; these add up to {sum(weights)}")
    return tuple(found.values())


def _mirror(refuse: _Refusal, path: str, owner: Mapping[str, Any]) -> Mirror | None:
    given = owner.get("mirror")
    if given is None:
        return None
    weights = {backend["name"]: backend["weight"] for backend in owner["backends"]}
    if given["backend"] not in weights:
        refuse(f"{path}.backend", given["backend"], f"accepted are {', '.join(map(repr, weights))}")
    if (weight := weights[given["backend"]]) != 0:
        accepted = f"a backend of weight 0: this one has {weight}, and would get requests and their copies"
        refuse(f"{path}.backend", given["backend"], f"accepted is {accepted}")
    percent = given.get("percent", 100)
    refuse.number(f"{path}.percent", percent, 1, 100, "1 to 100")
    return Mirror(given["backend"], int(percent))


def _models(refuse: _Refusal, args: InferenceRouteArgs) -> Iterable[Group]:
    seen: dict[str, str] = {}
    for index, given in enumerate(args.get("models", [])):
        path = f"models[{index}]"
        refuse.unless(_MODEL_NAME, f"{path}.name", given["name"], "letters, digits, '.', '_' and '-'")
        # Names of routes are in lower case; those of models need not be.
        if (other := seen.setdefault(route_suffix(given["name"]), given["name"])) != given["name"] or (
            [one["name"] for one in args["models"][:index]].count(given["name"])
        ):
            refuse(f"{path}.name", given["name"], f"each name once; there is {other!r} already")
        yield Group(
            given["name"],
            _backends(refuse, f"{path}.backends", given),
            _mirror(refuse, f"{path}.mirror", given),
        )


def route_suffix(model: str) -> str:
    """A model's name, as the name of its HTTPRoute has it."""
    return re.sub(r"[^a-z0-9-]", "-", model.lower()).strip("-")


def _experiments(
    refuse: _Refusal, args: InferenceRouteArgs, groups: Sequence[Group], matches: int
) -> tuple[Experiment, ...]:
    found: list[Experiment] = []
    models = [group.model for group in groups if group.model]
    for index, given in enumerate(args.get("experiments", [])):
        path = f"experiments[{index}]"
        refuse.unless(_NAME, f"{path}.name", given["name"], "a name of up to 63 a-z, 0-9 and -")
        if given["name"] == "weighted" or given["name"] in [one.name for one in found]:
            refuse(f"{path}.name", given["name"], "each name once, and not 'weighted', which all other requests have")
        model = given.get("model", "")
        if model and model not in models:
            refuse(
                f"{path}.model", model, f"accepted are {', '.join(map(repr, models)) or 'none: there are no models'}"
            )
        concerned = [group for group in groups if model in ("", group.model)]
        names = sorted({backend.name for group in concerned for backend in group.backends})
        if given["backend"] not in names:
            refuse(f"{path}.backend", given["backend"], f"accepted are {', '.join(map(repr, names))}")
        if any(group.mirror and group.mirror.backend == given["backend"] for group in concerned):
            refuse(f"{path}.backend", given["backend"], "a backend that gets copies alone; it answers nobody")
        header, cookie = _pair(given.get("header")), _pair(given.get("cookie"))
        if (header is None) == (cookie is None):
            refuse(path, given["name"], "give a header or a cookie, and one of them only")
        _condition(refuse, path, header, cookie)
        found.append(Experiment(given["name"], given["backend"], header, cookie, model))
    _distinct(refuse, found)
    most = min(MOST_RULES - 1, 2 * MOST_MATCHES // max(matches, 1) - 1)
    if len(found) > most:
        refuse("experiments", f"{len(found)} of them", f"accepted are at most {most}: an HTTPRoute has no more rules")
    return tuple(found)


def _pair(given: Any) -> tuple[str, str] | None:
    return (given["name"], given["value"]) if given is not None else None


def _condition(refuse: _Refusal, path: str, header: tuple[str, str] | None, cookie: tuple[str, str] | None) -> None:
    if header is not None:
        refuse.unless(_TOKEN, f"{path}.header.name", header[0], "a header's name, such as x-variant")
        if header[0].lower() == "cookie":
            refuse(f"{path}.header.name", header[0], "give `cookie` with the name and value of one cookie")
        refuse.unless(_VALUE, f"{path}.header.value", header[1], "printable ASCII")
    if cookie is not None:
        refuse.unless(_TOKEN, f"{path}.cookie.name", cookie[0], "a cookie's name, such as variant")
        refuse.unless(_COOKIE_VALUE, f"{path}.cookie.value", cookie[1], "a cookie's value, with no space or ;")


def _distinct(refuse: _Refusal, experiments: Sequence[Experiment]) -> None:
    """The same condition twice: the second would never be asked."""
    for index, one in enumerate(experiments):
        for other in experiments[:index]:
            if "" in (one.model, other.model) or one.model == other.model:
                same = one.cookie == other.cookie and _folded(one) == _folded(other)
                if same and one.backend != other.backend:
                    accepted = f"a header or cookie of its own: {other.name!r} has it, and comes first"
                    refuse(f"experiments[{index}]", one.name, f"accepted is {accepted}")


def _folded(one: Experiment) -> tuple[str, str] | None:
    return (one.header[0].lower(), one.header[1]) if one.header else None


def _timeouts(refuse: _Refusal, args: InferenceRouteArgs) -> Timeouts:
    request = args.get("request_timeout_s", RESPONSE_TIMEOUT)
    refuse.number("request_timeout_s", request, 1, 86400, "1 to 86400 seconds")
    backend = args.get("backend_timeout_s", request)
    refuse.number("backend_timeout_s", backend, 1, request, f"1 to request_timeout_s, {request} seconds")
    refuse.number("retries", args.get("retries", DEFAULT_RETRIES), 0, 5, "0 to 5")
    return Timeouts(int(request), int(backend))


def _proxies(refuse: _Refusal, args: InferenceRouteArgs) -> None:
    least = args.get("min_replicas", DEFAULT_MIN_REPLICAS)
    refuse.number("min_replicas", least, 2, 100, "2 or more: one proxy alone is away whenever its machine is")
    most = args.get("max_replicas", max(least, DEFAULT_MAX_REPLICAS))
    refuse.number("max_replicas", most, least, 100, f"min_replicas, {least}, to 100")
    for argument, size in (
        ("proxy_cpu", args.get("proxy_cpu", 1.0)),
        ("proxy_memory_gib", args.get("proxy_memory_gib", 1.0)),
    ):
        refuse.number(argument, size, 0.1, 64, "a number from 0.1 to 64")
