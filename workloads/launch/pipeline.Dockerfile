# The retraining pipeline: training's image, what exports and signs a version, and MLflow's client. Build from the
# repository's root, after workloads/training/Dockerfile:
#   docker build -f workloads/launch/pipeline.Dockerfile --build-arg BASE=REGISTRY/training:2.13.0-1 \
#       -t REGISTRY/pipelines:0.1.0 .
# Never built by this project's own tests: they run where there is no container engine.
ARG BASE
FROM ${BASE}
USER root
COPY pyproject.toml constraints.txt /tmp/
RUN python -c 'import sys, tomllib; known = tomllib.load(open("/tmp/pyproject.toml", "rb"))["project"]["optional-dependencies"]; print("\n".join(line for extra in sys.argv[1:] for line in known[extra]))' pipelines serving tracking > /tmp/requirements.txt \
    && pip install --no-cache-dir -c /tmp/constraints.txt -r /tmp/requirements.txt
COPY workloads/serving /opt/ai-cloud/lib/python3.11/site-packages/workloads/serving
COPY workloads/pipelines /opt/ai-cloud/lib/python3.11/site-packages/workloads/pipelines
# Fails the build, not the first Job.
RUN python -m workloads.pipelines run --help > /dev/null
USER 1000:1000
ENTRYPOINT ["python", "-m", "workloads.pipelines"]
