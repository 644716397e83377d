"""Serving: what users feel, then the route, Triton, language models, and the replicas beneath."""

from __future__ import annotations

from typing import Any

from components.observability.dashboards.panels import (
    BUDGET_LEFT,
    RED,
    WHERE,
    WINDOW,
    YELLOW,
    Query,
    alerts,
    bars,
    dashboard,
    lines,
    number,
    rows,
)
from components.observability.objectives import ERRORS, REMAINING, TARGET
from components.observability.rules.serving import QUEUE

_IN = f'{WHERE},namespace=~"$namespace"'
_MODEL = f'{_IN},model=~"$model"'
_OUTSIDE = f'{WHERE},envoy_http_conn_manager_prefix=~"https?-.+"'
_ROUTE = f'{WHERE},envoy_cluster_name=~"(http|grpc)route/.+"'
_PROMISES = "route-availability|route-latency|inference-availability|inference-queue"


def build(runbooks: str) -> dict[str, Any]:
    answered = f"sum(rate(envoy_http_downstream_rq_xx{{{_OUTSIDE}%s}}[{WINDOW}]))"
    errors = answered % ',envoy_response_code_class="5"'
    timed = f"sum by (le, envoy_cluster_name) (rate(envoy_cluster_upstream_rq_time_bucket{{{_ROUTE}}}[{WINDOW}]))"
    done = f"sum by (namespace, model) (rate(nv_inference_request_success{{{_MODEL}}}[{WINDOW}]))"
    spent = f"sum by (namespace, model) (rate(nv_inference_%s_duration_us{{{_MODEL}}}[{WINDOW}])) / 1e3 / ({done} > 0)"
    tokens = f"sum by (model) (rate(aicloud_language_model_%s_total{{{_MODEL}}}[{WINDOW}]))"
    replicas = f"sum by (namespace, deployment) (kube_deployment_%s{{{_IN}}})"
    return dashboard(
        "serving",
        "What users feel of the models, and why. Choose a namespace and a model to go from all to one.",
        {
            "namespace": f"nv_inference_request_success{{{WHERE}}}, namespace",
            "model": f'nv_inference_request_success{{{WHERE},namespace=~"$namespace"}}, model',
        },
        {
            "Now": [
                [
                    number("Requests", "A second, at the routes.", "reqps", answered % ""),
                    number(
                        "Errors",
                        "Part that was answered with an error of the server. Alert: RouteAvailabilityBurn.",
                        "percentunit",
                        f"({errors} or vector(0)) / {answered % ''}",
                        lines={0.001: YELLOW, 0.01: RED},
                        decimals=2,
                    ),
                    number(
                        "99 of 100 within",
                        "Time to the end of an answer, over all routes. Alert: RouteLatencyBurn.",
                        "ms",
                        f"histogram_quantile(0.99, sum by (le) ({timed}))",
                        lines={500: YELLOW, 1000: RED},
                    ),
                    number(
                        "Longest queue",
                        "Time that a request waits for its model, worst model. Alert: InferenceQueueBurn.",
                        "ms",
                        f"max({QUEUE}{{{_MODEL}}})",
                        lines={50: YELLOW, 100: RED},
                    ),
                    number(
                        "Replicas missing",
                        "Wanted and not ready. Alerts: InferenceDown, InferenceReplicasMissing.",
                        "short",
                        f"sum({replicas % 'spec_replicas'} - {replicas % 'status_replicas_available'})",
                        lines={1: YELLOW, 3: RED},
                    ),
                    number(
                        "Least budget left",
                        "Of all promises, of 30 days; below 0 it is spent, and rollouts should wait.",
                        "percentunit",
                        f'min({REMAINING}{{{WHERE},objective=~"{_PROMISES}"}})',
                        **BUDGET_LEFT,
                    ),
                ],
                [alerts("serving", runbooks)],
            ],
            "Promises": [
                [
                    rows(
                        "Error budgets left",
                        "What is left of what each promise allows to be bad in 30 days; below 0 it is broken.",
                        "percentunit",
                        f"sort(min by (objective, cluster, namespace, model, envoy_cluster_name)"
                        f' ({REMAINING}{{{_IN},objective=~"{_PROMISES}"}}))',
                        ("objective", "cluster", "namespace", "model", "envoy_cluster_name"),
                        **BUDGET_LEFT,
                        width=12,
                    ),
                    lines(
                        "Rate at which budgets burn",
                        "1 spends a budget in just 30 days. Alerts from 14.4 (for an hour) and 6 (six hours) on, and "
                        "from 1 over three days.",
                        "none",
                        Query(
                            f'max by (objective, namespace, model) ({ERRORS}1h{{{_IN},objective=~"{_PROMISES}"}}'
                            f" / on (cluster, objective) group_left () (1 - max by (cluster, objective)"
                            f' ({TARGET}{{{WHERE},objective=~"{_PROMISES}"}})))',
                            "{{objective}} {{namespace}} {{model}}",
                        ),
                        lines={1: YELLOW, 6: RED},
                        width=12,
                    ),
                ],
            ],
            "Routes": [
                [
                    lines(
                        "Answers by kind",
                        "A second: 2xx fine, 4xx the client's fault, 5xx ours.",
                        "reqps",
                        Query(
                            f"sum by (envoy_response_code_class)"
                            f" (rate(envoy_http_downstream_rq_xx{{{_OUTSIDE}}}[{WINDOW}]))",
                            "{{envoy_response_code_class}}xx",
                        ),
                        stacked=True,
                    ),
                    lines(
                        "Time to the end of an answer",
                        "By route: half of the requests, and 99 of 100, take at most this. Answers that stream take as "
                        "long as they are.",
                        "ms",
                        Query(f"histogram_quantile(0.5, {timed})", "{{envoy_cluster_name}} half"),
                        Query(f"histogram_quantile(0.99, {timed})", "{{envoy_cluster_name}} 99 %"),
                        width=10,
                    ),
                    lines(
                        "Nobody there to answer",
                        "Connections a second to backends without a healthy pod. Alert: RouteWithoutBackends.",
                        "cps",
                        Query(
                            f"sum by (envoy_cluster_name)"
                            f" (rate(envoy_cluster_upstream_cx_none_healthy{{{_ROUTE}}}[{WINDOW}])) > 0",
                            "{{envoy_cluster_name}}",
                        ),
                        empty="none",
                    ),
                ],
            ],
            "Triton": [
                [
                    lines(
                        "Requests by version",
                        "A second that were answered.",
                        "reqps",
                        Query(
                            f"sum by (model, version) (rate(nv_inference_request_success{{{_MODEL}}}[{WINDOW}]))",
                            "{{model}}:{{version}}",
                        ),
                    ),
                    lines(
                        "Failures by reason",
                        "A second. REJECTED: the queue was full. BACKEND: the model's own code. "
                        "Alert: InferenceAvailabilityBurn.",
                        "reqps",
                        Query(
                            f"sum by (model, reason) (rate(nv_inference_request_failure{{{_MODEL}}}[{WINDOW}])) > 0",
                            "{{model}} {{reason}}",
                        ),
                        empty="none",
                    ),
                    lines(
                        "Time in the queue",
                        "That a request waits, on average; replicas are scaled by it.",
                        "ms",
                        Query(f"max by (namespace, model) ({QUEUE}{{{_MODEL}}})", "{{namespace}} {{model}}"),
                        lines={100: RED},
                    ),
                ],
                [
                    lines(
                        "Time in the model",
                        "That a request spends computing, on average: input, inference, output. Choose one model.",
                        "ms",
                        Query(spent % "compute_input", "{{model}} input"),
                        Query(spent % "compute_infer", "{{model}} inference"),
                        Query(spent % "compute_output", "{{model}} output"),
                        stacked=True,
                    ),
                    lines(
                        "Waiting now",
                        "Requests in the queues of all replicas. Alert: InferenceStuck.",
                        "short",
                        Query(
                            f"sum by (namespace, model) (nv_inference_pending_request_count{{{_MODEL}}})",
                            "{{namespace}} {{model}}",
                        ),
                    ),
                    lines(
                        "Size of batches",
                        "Inferences for each time that a model is run: 1 means that batching does nothing.",
                        "none",
                        Query(
                            f"sum by (namespace, model) (rate(nv_inference_count{{{_MODEL}}}[{WINDOW}]))"
                            f" / (sum by (namespace, model)"
                            f" (rate(nv_inference_exec_count{{{_MODEL}}}[{WINDOW}])) > 0)",
                            "{{namespace}} {{model}}",
                        ),
                    ),
                ],
            ],
            "Language models": [
                [
                    lines(
                        "Slots taken",
                        "Answers under way, of those that can be. Alert: LanguageModelFull.",
                        "percentunit",
                        Query(
                            f"sum by (model) (aicloud_language_model_running{{{_MODEL}}})"
                            f" / sum by (model) (aicloud_language_model_slots{{{_MODEL}}})",
                            "{{model}}",
                        ),
                        lines={0.95: RED},
                        top=1,
                    ),
                    lines(
                        "Tokens a second",
                        "Read of prompts, and computed.",
                        "short",
                        Query(tokens % "prompt_tokens", "{{model}} read"),
                        Query(tokens % "generated_tokens", "{{model}} computed"),
                    ),
                    lines(
                        "Time to the first token",
                        "From the begin of an answer, on average; the time in the queue comes before.",
                        "s",
                        Query(f"{tokens % 'first_token_seconds'} / ({tokens % 'first_tokens'} > 0)", "{{model}}"),
                    ),
                    lines(
                        "Why answers ended",
                        "A second, by reason.",
                        "reqps",
                        Query(
                            "sum by (model, reason)"
                            f" (rate(aicloud_language_model_answers_total{{{_MODEL}}}[{WINDOW}]))",
                            "{{model}} {{reason}}",
                        ),
                    ),
                ],
            ],
            "Replicas": [
                [
                    lines(
                        "Replicas",
                        "Ready, and wanted.",
                        "short",
                        Query(replicas % "status_replicas_available", "{{deployment}} ready"),
                        Query(replicas % "spec_replicas", "{{deployment}} wanted"),
                    ),
                    bars(
                        "Of the most that they may be",
                        "Alert: InferenceAtMostReplicas.",
                        "percentunit",
                        Query(
                            f"sum by (namespace, horizontalpodautoscaler)"
                            f" (kube_horizontalpodautoscaler_status_current_replicas{{{_IN}}})"
                            f" / sum by (namespace, horizontalpodautoscaler)"
                            f" (kube_horizontalpodautoscaler_spec_max_replicas{{{_IN}}})",
                            "{{horizontalpodautoscaler}}",
                        ),
                        lines={0.8: YELLOW, 1: RED},
                        top=1,
                    ),
                    lines(
                        "Restarts",
                        "Of containers, an hour. Alert: ServingPodRestarting.",
                        "short",
                        Query(
                            f"sum by (namespace, pod)"
                            f" (increase(kube_pod_container_status_restarts_total{{{_IN}}}[1h])) > 0",
                            "{{pod}}",
                        ),
                        empty="none",
                    ),
                    lines(
                        "Scalers that fail",
                        "Errors of KEDA a minute. Alert: ScalerFailing.",
                        "cpm",
                        Query(
                            f"60 * sum by (scaledObject)"
                            f" (rate(keda_scaled_object_errors_total{{{WHERE}}}[{WINDOW}])) > 0",
                            "{{scaledObject}}",
                        ),
                        empty="none",
                    ),
                    lines(
                        "GPUs busy",
                        "By pod: a replica that differs is ill, or gets other requests.",
                        "percent",
                        Query(f"avg by (cluster, pod) (DCGM_FI_DEV_GPU_UTIL{{{_IN}}})", "{{pod}}"),
                        top=100,
                    ),
                ],
            ],
        },
    )
