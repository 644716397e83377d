#!/bin/sh
# What SageMaker starts in a container: the one word `serve`, for a model can name neither a command nor arguments. Those
# come in a variable (components/inference/serverless_aws.py). It takes the place of Triton's own script, which serves
# whatever files there are without comparing them with the manifest.
set -f
# shellcheck disable=SC2086  # words
exec python3 -m workloads.serving ${AICLOUD_SERVE:?the words after python3 -m workloads.serving}
