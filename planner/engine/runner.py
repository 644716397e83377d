"""Runs an unmodified Pulumi program against the simulated engine, inside this process, on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import importlib
import io
import logging
import os
import re
import runpy
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi
import pulumi.runtime
from pulumi.runtime import settings as runtime_settings

from planner.engine import sdk
from planner.engine.diagnostics import Diagnostics
from planner.engine.failures import CURRENT, Failure, Failures
from planner.engine.monitor import Engine
from planner.engine.project import import_path

Program = Path | Callable[[], Any]


class InlineExecutor(futures.ThreadPoolExecutor):
    """Runs a call at once on the caller's thread: no hand-over between threads, and the same order in every run.

    asyncio accepts only a ThreadPoolExecutor as its default executor.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  it belongs to whoever awaits the future
            future.set_exception(error)
        return future


def run(engine: Engine, program: Program) -> None:
    """Run a program (its directory, its file, or a function) to its end.

    An error of the program becomes a diagnostic with the line of the program that raised it; what the program prints
    becomes an info diagnostic. Modules that it imported from its own project are forgotten afterwards, so that the next
    run sees its files afresh.
    """
    contextvars.copy_context().run(_run, engine, program)


def _run(engine: Engine, program: Program) -> None:
    target = engine.target
    runtime_settings.ROOT.set(None)
    pulumi.runtime.set_all_config(dict(target.config), list(target.secret_keys))
    monitor = sdk.PositionedMonitor(engine)
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            project=target.project,
            stack=target.stack,
            monitor=monitor,
            engine=engine,
            parallel=1,
            dry_run=engine.preview,
            organization=target.organization,
            root_directory=str(target.root or Path.cwd()),
        )
    )
    printed = io.StringIO()
    with (
        sdk.patched() as failed,
        _without_garbage_collection(),
        contextlib.redirect_stdout(printed),
        _in_project(target.root, program),
        _event_loop() as loop,
    ):
        try:
            loop.run_until_complete(pulumi.runtime.run_in_stack(entry(program)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a program raises is its result
            failed.add(error)
        report(failed, engine.diagnostics, target.root)
    for line in printed.getvalue().splitlines():
        engine.diagnostics.add("info", line)


def entry(program: Program) -> Callable[[], Any]:
    """What runs a program: itself, or its file or directory as `__main__`."""

    def execute() -> Any:
        try:
            return program() if callable(program) else _as_main(program)
        except Exception as error:
            # The SDK forgets it where a registration has failed too.
            CURRENT.get().add(error)
            raise

    return execute


def _as_main(program: Path) -> None:
    runpy.run_path(str(program), run_name="__main__")


def report(failed: Failures, diagnostics: Diagnostics, root: Path | None) -> None:
    """Say what a program raised, and at which of its own lines."""
    for failure in failed:
        error, position = failure.error, failure.position
        if isinstance(error, SystemExit) and not error.code:
            continue
        frames = [frame for frame in reversed(failure.frames) if _is_the_programs(frame.filename, root)]
        lines = [f"{_relative(frame.filename, root)}:{frame.lineno}" for frame in frames]
        if position is not None:
            lines.append(f"{_relative(position.uri.removeprefix('file://'), root)}:{position.line}")
        if isinstance(error, SyntaxError) and error.filename:
            # A package of the repository around the project may be what cannot be read.
            lines.insert(0, f"{os.path.relpath(error.filename, root) if root else error.filename}:{error.lineno}")
        message = _message(failure)
        if root is not None:
            message = message.replace(f"{root}/", "")
        if len(lines) > 1:
            message += f"\n  called from {' <- '.join(lines[1:])}"
        diagnostics.add("error", message, place=lines[0] if lines else "")


_IN_RESOURCE = re.compile(r"While processing resource: '(?P<name>.*?)', type:? '(?P<type>.*?)'")
_IN_INPUT = re.compile(r"While processing input: '(?P<input>\w+)', type (?P<expected>.*?), value (?P<value>.*)")


_PACKAGE_FILE = re.compile(r" \([^()]*\.(?:py|so)\)")


def _message(failure: Failure) -> str:
    if isinstance(failure.error, SystemExit):
        return f"the program exited with {failure.error.code!r}"
    text = str(failure.error)
    resource, value = _IN_RESOURCE.search(text), _IN_INPUT.search(text)
    if resource and value and isinstance(failure.cause, AssertionError):
        # The SDK could not make sense of an input at all. It says so in three nested exceptions, in its own terms.
        expected = value["expected"].removeprefix("<class '").removesuffix("'>")
        return f"{resource['type']} {resource['name']!r}: {value['input']}: expected {expected}, got {value['value']}"
    message = f"{type(failure.cause).__name__}: {failure.cause}"
    if isinstance(failure.cause, ModuleNotFoundError):
        message += "; it is neither installed beside aicloud nor in a venv of the project"
    # Where a package lies on this machine is nobody's business elsewhere.
    return _PACKAGE_FILE.sub("", message) if isinstance(failure.cause, ImportError) else message


def _is_the_programs(filename: str, root: Path | None) -> bool:
    outside = "/site-packages/" in filename or filename.startswith(sdk.NOT_THE_PROGRAM)
    return not outside and (root is None or filename.startswith(f"{root}/"))


def _relative(filename: str, root: Path | None) -> str:
    return filename[len(str(root)) + 1 :] if root is not None and filename.startswith(f"{root}/") else filename


@contextlib.contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop; whatever still runs on it at the end is cancelled, and nothing is logged about it."""
    logger = logging.getLogger("asyncio")
    level, before = logger.level, _current_event_loop()
    logger.setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(InlineExecutor())
    # A failure reaches every output that depends on it, and asyncio would print each one that nobody looks at.
    loop.set_exception_handler(lambda *_: None)
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        asyncio.set_event_loop(before)
        logger.setLevel(level)


def _current_event_loop() -> asyncio.AbstractEventLoop | None:
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        return None
    return None if loop.is_closed() else loop


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collecting cycles among objects that all live until the end was 60 % of the time of a large preview."""
    enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        # All that the run has made is young still, and enabling would look through it at once. By way of the frozen
        # objects it becomes old, and waits for the interpreter's next full collection.
        gc.freeze()
        gc.unfreeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _in_project(root: Path | None, program: Program) -> Iterator[None]:
    """The program's own working directory, arguments and modules, as the CLI's language host sets them."""
    if root is None or not isinstance(program, Path):
        yield
        return
    directory = program if program.is_dir() else program.parent
    before, arguments, path = Path.cwd(), sys.argv, list(sys.path)
    around = [place for place in import_path(root) if str(place) not in path]
    own = {root, directory, *around}
    hidden = _hide_modules(own)
    loaded = set(sys.modules)
    os.chdir(directory)
    sys.argv = [str(program)]
    sys.path[:] = [*dict.fromkeys((str(directory), str(root))), *path, *map(str, around)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        os.chdir(before)
        sys.argv, sys.path[:] = arguments, path
        places = tuple(f"{place}/" for place in own)
        for name in set(sys.modules) - loaded:
            module = sys.modules[name]
            if (getattr(module, "__file__", None) or "").startswith(places) and not _is_installed(module):
                del sys.modules[name]
        sys.modules.update(hidden)


_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or file.startswith(_INSTALLED) or "/site-packages/" in file


def _hide_modules(directories: set[Path]) -> dict[str, ModuleType]:
    """Take modules out of `sys.modules` that the project has under the same name, so that its own are imported."""
    own = {directory for directory in directories if "/site-packages" not in str(directory)}
    names = {path.stem for directory in own for path in directory.iterdir()} - {"planner", "__main__"}
    hidden = {
        name: module
        for name, module in sys.modules.items()
        if name.split(".", 1)[0] in names and not _is_installed(module)
    }
    for name in hidden:
        del sys.modules[name]
    return hidden
