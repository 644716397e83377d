"""The command line of rollouts: the local router, the controller, and what a person asks of them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workloads import disk
from workloads.rollout import admin, journal, spec
from workloads.rollout.controller import EXITS, Controller
from workloads.rollout.envoy import EnvoyObserver
from workloads.rollout.errors import RolloutError, RoutingError, SpecError, on_disk
from workloads.rollout.gateway import GatewayRoute, Service
from workloads.rollout.hand_over import hand_over
from workloads.rollout.kubernetes import Cluster
from workloads.rollout.metrics import ControllerMetrics
from workloads.rollout.observe import LocalObserver, Observer
from workloads.rollout.router import Router, application, listening
from workloads.rollout.routing import Arm, Routing
from workloads.rollout.shadow import Scored, read_texts
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, LocalRoute, Route
from workloads.rollout.status import status
from workloads.telemetry.errors import TelemetryError

EXIT_CODES = """exit codes: 0 done, or promoted; 1 replay differs; 2 wrong arguments or specification; 3 not what was
written; 4 journal; 5 another controller has taken over; 6 router, cluster or Prometheus; 7 weights that no state
allows; 10 rolled back; 11 stopped; 12 inconclusive"""


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.rollout", description=__doc__, epilog=EXIT_CODES)
    subcommands = root.add_subparsers(dest="command", required=True)

    routing = subcommands.add_parser("router", help="share a model's requests among versions", epilog=EXIT_CODES)
    routing.add_argument("--rollout", required=True, help="name that metrics have, and that sessions are hashed with")
    routing.add_argument("--model", required=True, help="whose requests are shared; all others go to the baseline")
    routing.add_argument(
        "--baseline", required=True, type=_arm, metavar="URL[@VERSION]", help="the old version's server"
    )
    routing.add_argument("--candidate", type=_arm, metavar="URL[@VERSION]", help="the new one's; `run` names it too")
    routing.add_argument("--address", default="127.0.0.1", help="to listen on (default %(default)s)")
    routing.add_argument("--port", type=int, default=8080, help="of clients; 0: a free one (default %(default)s)")
    routing.add_argument("--admin-port", type=int, default=8081, help="of controllers (default %(default)s)")
    routing.add_argument("--state", type=Path, metavar="FILE", help="where shares survive a restart")
    routing.add_argument("--drain-s", type=float, default=60.0, help="that requests have at the end (default 60)")

    run = subcommands.add_parser("run", help="carry out a rollout, or continue it", epilog=EXIT_CODES)
    run.add_argument("--spec", required=True, type=Path, metavar="FILE", help="the rollout, in YAML or JSON")
    run.add_argument("--journal", required=True, type=Path, metavar="FILE", help="its memory; made where there is none")
    where = run.add_mutually_exclusive_group(required=True)
    where.add_argument("--router", metavar="URL", help="admin port of a local router")
    where.add_argument("--route", type=_route, metavar="NAMESPACE/NAME", help="HTTPRoute of a cluster")
    run.add_argument("--baseline", metavar="ARM", help="URL[@VERSION], or NAMESPACE/SERVICE[:PORT][@DEPLOYMENT]")
    run.add_argument("--candidate", metavar="ARM", help="likewise")
    run.add_argument("--ready-replicas", type=_count, default=1, help="of the candidate, before it gets requests")
    run.add_argument(
        "--control", action="store_true", help="compare with a sample of the candidate's size, not with all the others"
    )
    run.add_argument("--prometheus", metavar="URL", help="that scrapes the gateway's proxies; with --route")
    run.add_argument("--cluster", metavar="URL", help="of the API; default the one that this pod runs in")
    run.add_argument("--texts", type=Path, metavar="FILE", help="JSON Lines of texts that both versions score")
    run.add_argument("--metrics-port", type=int, default=0, help="of the controller's own metrics; 0: none")
    run.add_argument("--linger-s", type=float, default=0.0, help="to stay after the end, for metrics and for `abort`")

    over = subcommands.add_parser("hand-over", help="once the baseline has the new version, too", epilog=EXIT_CODES)
    over.add_argument("--route", required=True, type=_route, metavar="NAMESPACE/NAME", help="HTTPRoute of a cluster")
    over.add_argument("--baseline", required=True, metavar="ARM", help="NAMESPACE/SERVICE[:PORT]: gets all requests")
    over.add_argument("--candidate", required=True, metavar="ARM", help="likewise: has them")
    over.add_argument("--ready-replicas", type=_count, default=1, help="of the baseline, before it gets requests")
    over.add_argument("--pause-s", type=float, default=60.0, help="between two steps (default 60)")
    over.add_argument("--cluster", metavar="URL", help="of the API; default the one that this pod runs in")

    for name, help_ in (
        ("status", "say where a rollout stands"),
        ("replay", "decide everything again, and compare"),
        ("abort", "have a rollout go back"),
    ):
        command = subcommands.add_parser(name, help=help_, epilog=EXIT_CODES)
        command.add_argument("--journal", required=True, type=Path, metavar="FILE")
        if name == "status":
            command.add_argument("--json", action="store_true", help="for programs")
    validate = subcommands.add_parser("validate", help="read a specification", epilog=EXIT_CODES)
    validate.add_argument("--spec", required=True, type=Path, metavar="FILE")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    commands = {
        "router": _router,
        "run": _run,
        "hand-over": _hand_over,
        "status": _status,
        "replay": _replay,
        "abort": _abort,
        "validate": _validate,
    }
    try:
        return commands[options.command](options)
    except RolloutError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return error.exit_code


# ---- the router


def _router(options: argparse.Namespace) -> int:
    arms = {CANDIDATE: options.candidate or options.baseline, BASELINE: options.baseline, CONTROL: options.baseline}
    routing = Routing(arms, {BASELINE: 1.0})
    router = Router(options.rollout, options.model, routing, state=options.state)
    asyncio.run(_serve(router, options))
    return 0


async def _serve(router: Router, options: argparse.Namespace) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(router)
        control = await stack.enter_async_context(
            listening(admin.application(router), options.address, options.admin_port, drain_s=1.0)
        )
        data = await stack.enter_async_context(
            listening(application(router), options.address, options.port, drain_s=options.drain_s)
        )
        print(f"{options.rollout}: requests of {options.model} at {data}, shares at {control}", flush=True)
        await told.wait()
        print("told to end: draining", flush=True)


# ---- the controller


def _run(options: argparse.Namespace) -> int:
    rollout = _spec(options.spec)
    metrics = ControllerMetrics(rollout.name)
    route, observer = _in_cluster(options, rollout) if options.route else _local(options)
    request = _request(options.journal)
    if options.metrics_port:
        try:
            metrics.exported.serve(options.metrics_port)
        except TelemetryError as error:
            raise RoutingError(f"--metrics-port: {error}") from None
    with journal.Journal(options.journal, rollout, time.time) as memory:
        if isinstance(route, LocalRoute) and not memory.memory.decisions and options.candidate:
            named = {name: _arm(getattr(options, name)) for name in (BASELINE, CANDIDATE)}
            route.begin({name: {"url": arm.url, "version": arm.version} for name, arm in named.items()})
        state = Controller(
            memory,
            route,
            observer,
            ready_replicas=options.ready_replicas,
            control=options.control,
            requested=request.exists,
            fulfilled=functools.partial(request.unlink, missing_ok=True),
            metrics=metrics,
        ).run(options.linger_s)
    return EXITS[state.phase]


def _hand_over(options: argparse.Namespace) -> int:
    hand_over(_gateway(options), ready_replicas=options.ready_replicas, pause_s=options.pause_s)
    return 0


def _local(options: argparse.Namespace) -> tuple[Route, Observer]:
    if (options.baseline is None) != (options.candidate is None):
        raise RoutingError("--baseline, --candidate: expected both, or none where the router knows them")
    return LocalRoute(options.router), LocalObserver(options.router)


def _in_cluster(options: argparse.Namespace, rollout: spec.Spec) -> tuple[Route, Observer]:
    for name in ("baseline", "candidate", "prometheus"):
        if getattr(options, name) is None:
            raise RoutingError(f"--{name}: expected with --route")
    route = _gateway(options)
    observer: Observer = EnvoyObserver(options.prometheus, route.clusters)
    if options.texts:
        services = [Service.parse(options.baseline), Service.parse(options.candidate)]
        urls = [f"http://{each.name}.{each.namespace}:{each.port}" for each in services]
        observer = Scored(observer, read_texts(options.texts), rollout.candidate.name, *urls)
    return route, observer


def _gateway(options: argparse.Namespace) -> GatewayRoute:
    cluster = Cluster(options.cluster) if options.cluster else Cluster.of_this_pod()
    namespace, name = options.route
    return GatewayRoute(cluster, namespace, name, Service.parse(options.baseline), Service.parse(options.candidate))


# ---- what a person asks


def _status(options: argparse.Namespace) -> int:
    text = journal.read(options.journal)
    memory = journal.remember(text, str(options.journal))
    if options.json:
        print(json.dumps({"rollout": memory.spec.name, "in_force": memory.done, **memory.state.to_json()}))
    else:
        print(
            status(memory, journal.entries(text, str(options.journal)), time.time(), _request(options.journal).exists())
        )
    return 0


def _replay(options: argparse.Namespace) -> int:
    count, different = journal.replay(journal.read(options.journal), str(options.journal))
    for each in different:
        for key in sorted({*each.written, *each.decided}):
            if each.written.get(key) != each.decided.get(key):
                one, other = each.written.get(key), each.decided.get(key)
                print(f"entry {each.number}: {key}: {one!r:.300} written, {other!r:.300} now")
    print(f"{count} decisions: {len(different) or 'none'} different")
    return 1 if different else 0


def _abort(options: argparse.Namespace) -> int:
    memory = journal.remember(journal.read(options.journal), str(options.journal))
    request = _request(options.journal)
    with on_disk(request):
        request.write_text("rollback\n", encoding="utf-8")
    print(
        f"{memory.spec.name}: asked to go back to {memory.spec.baseline}; the controller does so within a second, and "
        "if none is running, as soon as one is"
    )
    return 0


def _validate(options: argparse.Namespace) -> int:
    found = _spec(options.spec)
    steps = ", ".join(f"{step.percent:g} %" for step in found.all_steps) or "none"
    print(
        f"{found.name}: {found.baseline} -> {found.candidate}, {found.strategy}; steps: {steps}; "
        f"a healthy candidate is rolled back with a chance of at most {found.alpha:.1%}"
    )
    return 0


def _spec(path: Path) -> spec.Spec:
    with disk.failures(path, SpecError):
        text = path.read_text(encoding="utf-8")
    return spec.read(text, str(path))


def _request(path: Path) -> Path:
    """The file that asks the controller to go back."""
    return path.with_name(path.name + ".rollback")


def _arm(text: str) -> Arm:
    url, _, version = text.partition("@")
    try:
        return Arm(url, version)
    except RoutingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _route(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not slash or not namespace or not name:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAMESPACE/NAME")
    return namespace, name


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)
