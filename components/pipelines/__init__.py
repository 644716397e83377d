"""The closed loop's own servers: what keeps runs and models, and what runs pipelines."""

from components.pipelines.database_arguments import DatabaseArgs
from components.pipelines.mlflow_server import MlflowServer, MlflowServerArgs

__all__ = ["DatabaseArgs", "MlflowServer", "MlflowServerArgs"]
