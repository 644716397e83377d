# MLflow's server with what keeps its database password fresh. Build from the repository's root:
#   docker build -f workloads/database/mlflow.Dockerfile -t REGISTRY/mlflow:3.17.2-1 .
# `-full` has the drivers of PostgreSQL, the clients of S3 and Cloud Storage, and the exporter of metrics; the plain image
# has MLflow alone. Never built by this project's own tests: they run where there is no container engine.
FROM ghcr.io/mlflow/mlflow:v3.17.2-full
COPY workloads/__init__.py /opt/ai-cloud/workloads/
COPY workloads/database /opt/ai-cloud/workloads/database
ENV PYTHONPATH=/opt/ai-cloud PYTHONUNBUFFERED=1
# Fails the build, not the first pod.
RUN python -m workloads.database login --help > /dev/null && python -c "import boto3, psycopg2, prometheus_flask_exporter"
USER 1000:1000
