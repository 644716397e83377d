"""MLflow: a run for each run of the pipeline with its steps below it, a version of the registered model, its aliases.

    candidate    the newest version that passed
    champion     the one that serves; the next candidate is held against it
    previous     the one that served before it: where a rollback goes

Nothing here is done twice: a run is found again by its tag, and so is a version.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.pipelines.errors import ArgumentError, RegistryFailed

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
RUN = "pipeline.run"
"""The tag by which a run, and what came of it, is found again."""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    model: str
    version: str
    run: str
    tags: Mapping[str, str]

    @property
    def weights(self) -> str:
        """Where its weights are, as `champion` takes them."""
        return self.tags.get("weights", "")


class Registry:
    """The tracking server and the registry at a URI: `sqlite:///path` or `https://…`. Raises RegistryFailed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # Its own are made for people who wait: minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        with self._told():
            # Of a new database it tells every table that it makes.
            logging.getLogger("alembic").setLevel(logging.WARNING)
            import mlflow

            if uri.startswith("sqlite:///"):
                Path(uri.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)
            self._client: Any = mlflow.MlflowClient(uri, uri)

    # ---- runs

    def record(
        self,
        experiment: str,
        key: str,
        *,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, Any],
        metrics: Mapping[str, float],
        steps: Mapping[str, Mapping[str, Any]],
        artifacts: Mapping[str, Path],
    ) -> str:
        """A run with all that is known of it, and one below it for each of `steps`. Returns its ID.

        `key`: what makes the run this one: if it is there already, what is new is added. `steps`: tags and figures.
        """
        from mlflow.entities import Metric, Param, RunTag

        with self._told():
            place = self._experiment(experiment)
            run = self._found(place, key) or self._create(place, key, name, {})
            known = self._client.get_run(run).data
            now = self._client.get_run(run).info.start_time
            fresh = [Param(k, str(v)[:6000]) for k, v in parameters.items() if k not in known.params]
            self._client.log_batch(
                run,
                metrics=[Metric(k, float(v), now, 0) for k, v in metrics.items() if k not in known.metrics],
                params=fresh,
                tags=[RunTag(k, str(v)[:5000]) for k, v in tags.items()],
            )
            for step, facts in steps.items():
                self._step(place, run, f"{key}/{step}", step, facts)
            for path, local in artifacts.items():
                log = self._client.log_artifacts if local.is_dir() else self._client.log_artifact
                log(run, str(local), path)
            self._client.set_terminated(run, "FINISHED")
            return run

    def _step(self, experiment: str, parent: str, key: str, step: str, facts: Mapping[str, Any]) -> None:
        if self._found(experiment, key):
            return
        run = self._create(experiment, key, step, {"mlflow.parentRunId": parent, "step": step})
        for name, value in facts.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._client.log_metric(run, name, float(value))
            else:
                self._client.set_tag(run, name, str(value)[:5000])
        self._client.set_terminated(run, "FINISHED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        # Beside a database that is a file, and not where somebody happens to be.
        kind, _, path = self.uri.partition(":///")
        return str(
            self._client.create_experiment(
                name, (Path(path).absolute().parent / "mlruns").as_uri() if kind == "sqlite" else None
            )
        )

    def _found(self, experiment: str, key: str) -> str | None:
        runs = self._client.search_runs([experiment], f"tags.`{RUN}` = '{key}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _create(self, experiment: str, key: str, name: str, tags: Mapping[str, str]) -> str:
        return str(self._client.create_run(experiment, run_name=name, tags={**tags, RUN: key}).info.run_id)

    # ---- models

    def register(self, model: str, run: str, key: str, tags: Mapping[str, Any]) -> Registered:
        """A version of the model, the same one each time for the same `key`; it gets the alias `candidate`."""
        from mlflow.exceptions import MlflowException

        with self._told():
            try:
                self._client.create_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = [
                version
                for version in self._client.search_model_versions(f"name = '{model}'")
                if version.tags.get(RUN) == key
            ]
            if found:
                version = found[0].version
            else:
                source = f"{self._client.get_run(run).info.artifact_uri}"
                texts = {name: str(value)[:5000] for name, value in {**tags, RUN: key}.items()}
                version = self._client.create_model_version(model, source, run, tags=texts).version
                self._client.set_registered_model_alias(model, CANDIDATE, version)
            return self._version(model, str(version))

    def aliases(self, model: str) -> dict[str, str]:
        """Alias -> version. Empty where there is no such model."""
        from mlflow.exceptions import MlflowException

        with self._told():
            try:
                found = self._client.get_registered_model(model)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
            return {name: str(version) for name, version in found.aliases.items()}

    def get(self, model: str, alias: str) -> Registered | None:
        """The version with an alias, if there is one."""
        version = self.aliases(model).get(alias)
        if version is None:
            return None
        with self._told():
            return self._version(model, version)

    def promote(self, model: str, version: str) -> None:
        """`version` is the champion now, and who was it before is remembered. Again, it changes nothing."""
        aliases = self.aliases(model)
        with self._told():
            # It must be there.
            self._version(model, version)
            before = aliases.get(CHAMPION)
            if before == version:
                return
            if before is not None:
                self._client.set_registered_model_alias(model, PREVIOUS, before)
            self._client.set_registered_model_alias(model, CHAMPION, version)

    def roll_back(self, model: str) -> str:
        """The champion is again who it was before the last promotion; its version. ArgumentError if nobody was."""
        aliases = self.aliases(model)
        if PREVIOUS not in aliases:
            raise ArgumentError(f"{model}: no champion before this one is known")
        with self._told():
            self._client.set_registered_model_alias(model, CHAMPION, aliases[PREVIOUS])
            self._client.delete_registered_model_alias(model, PREVIOUS)
        return aliases[PREVIOUS]

    def _version(self, model: str, version: str) -> Registered:
        found = self._client.get_model_version(model, version)
        return Registered(model, str(found.version), str(found.run_id), dict(found.tags))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            from mlflow.exceptions import MlflowException
        except ModuleNotFoundError:
            raise RegistryFailed("the package mlflow is not installed; `pip install ai-cloud[pipelines]`") from None
        try:
            yield
        except (MlflowException, OSError) as error:
            raise RegistryFailed(f"{self.uri}: {(str(error) or type(error).__name__).splitlines()[0]}") from error
