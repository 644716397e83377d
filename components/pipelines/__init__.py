"""The closed loop's own servers: what keeps runs and models, and what runs pipelines."""

from components.pipelines.airflow_deployment import AirflowDeployment, AirflowDeploymentArgs
from components.pipelines.database_arguments import DatabaseArgs
from components.pipelines.kubeflow_pipelines import KubeflowPipelines, KubeflowPipelinesArgs
from components.pipelines.mlflow_server import MlflowServer, MlflowServerArgs
from components.pipelines.retraining_trigger import RetrainingTrigger, RetrainingTriggerArgs
from components.pipelines.sagemaker_pipeline import SageMakerPipeline, SageMakerPipelineArgs

__all__ = [
    "AirflowDeployment",
    "AirflowDeploymentArgs",
    "DatabaseArgs",
    "KubeflowPipelines",
    "KubeflowPipelinesArgs",
    "MlflowServer",
    "MlflowServerArgs",
    "RetrainingTrigger",
    "RetrainingTriggerArgs",
    "SageMakerPipeline",
    "SageMakerPipelineArgs",
]
