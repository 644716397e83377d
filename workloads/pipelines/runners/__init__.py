"""Four ways to run the pipeline that start the same commands: here, in Airflow, Kubeflow Pipelines and SageMaker."""
