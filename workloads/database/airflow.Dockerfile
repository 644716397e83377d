# Airflow with the retraining pipeline's DAG, and what keeps its database password fresh. Build from the repository's root:
#   docker build -f workloads/database/airflow.Dockerfile -t REGISTRY/airflow:3.3.2-1 .
# A task is a pod of the training image (workloads.pipelines' own): Airflow only starts it. The official image has the
# clients of AWS and Google, and the driver of PostgreSQL. Never built by this project's own tests: they run where there is
# no container engine.
FROM apache/airflow:3.3.2-python3.11
COPY workloads/__init__.py workloads/disk.py /opt/ai-cloud/workloads/
COPY workloads/database /opt/ai-cloud/workloads/database
COPY workloads/pipelines /opt/ai-cloud/workloads/pipelines
ENV PYTHONPATH=/opt/ai-cloud PYTHONUNBUFFERED=1
# Fails the build, not the first pod.
RUN python -m workloads.database login --help > /dev/null && python -c "import boto3, psycopg2"
