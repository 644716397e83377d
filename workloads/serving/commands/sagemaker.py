"""The subcommand `sagemaker`: what a container of a SageMaker endpoint runs.

SageMaker asks `GET /ping` until the container is healthy, and then posts requests to `/invocations`. Triton answers
both, and takes a server without models for a healthy one. So the model is verified first, and the server started with
it: it listens only once the model is loaded.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from workloads.serving.commands import model_version
from workloads.serving.commands.serve import until_told
from workloads.serving.errors import ArgumentError, NotInStore, on_disk
from workloads.serving.manifest import ModelVersion

HELP = "verify the model of a SageMaker endpoint, then answer /ping and /invocations with it"

PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
"""By which SageMaker names another port than 8080."""
REPOSITORY = "AICLOUD_REPOSITORY"
"""The repository where no argument says it: its bucket's name is often known to the cloud alone."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, type=model_version, metavar="NAME:VERSION")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--version-directory", type=Path, metavar="DIR",
        help="where SageMaker has copied <repository>/NAME/VERSION/ to: /opt/ml/model",
    )  # fmt: skip
    where.add_argument(
        "--repository", metavar="DIR|URL", help=f"a whole repository, to copy the version from (default ${REPOSITORY})"
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("/tmp/serve"), metavar="DIR",
        help="for the verified copy and the log (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get(PORT_VARIABLE) or 8080), metavar="PORT",
        help=f"that SageMaker asks (default ${PORT_VARIABLE}, or 8080)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=8, help="requests taken at once (default %(default)s)")
    parser.add_argument(
        "--start-s", type=float, default=900.0, metavar="S",
        help="seconds in which the server has loaded the model (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--exit-timeout-s", type=int, default=25, metavar="S",
        help="seconds that requests under way have after SIGTERM; SageMaker kills after 30 (default %(default)s)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from workloads.serving.fetch import fetch
    from workloads.serving.repository import check_version
    from workloads.serving.serve import LOOK_S, url
    from workloads.serving.triton import Triton

    if options.threads < 1 or options.start_s <= 0 or options.exit_timeout_s < 1:
        raise ArgumentError("--threads and --exit-timeout-s: expected 1 or more; --start-s: more than 0")
    stop = until_told()
    model: ModelVersion = options.model
    if options.version_directory is not None:
        repository = str(_as_repository(options.version_directory, model, options.directory))
    elif not (repository := options.repository or os.environ.get(REPOSITORY, "")):
        raise ArgumentError(f"expected --version-directory, --repository or ${REPOSITORY}")
    verified = options.directory / "models"
    fetch(url(repository), verified, [model])
    check_version(verified / model.name, model)
    print(f"{model}: verified in {verified}", flush=True)
    triton = Triton(
        verified,
        log=options.directory / "triton.log",
        environment={**os.environ, "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": model.name},
        arguments=[
            "--allow-sagemaker=true",
            f"--sagemaker-port={options.port}",
            f"--sagemaker-thread-count={options.threads}",
            f"--load-model={model.name}",
            "--exit-on-error=true",
        ],
        start_s=options.start_s,
        exit_timeout_s=options.exit_timeout_s,
    )
    with triton:
        print(f"{model} is served: /ping and /invocations on port {options.port}", flush=True)
        while not stop.wait(LOOK_S):
            triton.check_alive()
        print("told to end: draining", flush=True)
    print("drained", flush=True)
    return 0


def _as_repository(version: Path, model: ModelVersion, directory: Path) -> Path:
    """A repository with the one version that lies in a directory. NotInStore where there is no such directory."""
    if not version.is_dir():
        raise NotInStore(f"{version}: no such directory; expected what the repository has under {model.name}/…")
    link = directory / "copied" / model.name / str(model.version)
    with on_disk(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(version.absolute(), target_is_directory=True)
    return directory / "copied"
