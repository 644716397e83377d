"""What is served: replicas, the queue before them, the route to them, and what scales them."""

from __future__ import annotations

from components.observability.rule import Alert, Group, Record, Scope

QUEUE = "aicloud:inference_queue:milliseconds"
"""Recorded: time that a request waited in Triton's queue, by namespace and model; none where nothing was served."""
REQUESTS = "aicloud:inference_requests:rate5m"
"""Recorded: requests a second that were answered, by namespace, model and version."""


def groups(scope: Scope) -> list[Group]:
    return [Group("aicloud-serving-records", _records()), Group("aicloud-serving", _alerts(scope))]


def _records() -> list[Record]:
    waited = "sum by (namespace, model) (rate(nv_inference_queue_duration_us[5m])) / 1e3"
    requests = "sum by (namespace, model) (rate(nv_inference_request_success[5m]))"
    return [
        Record(REQUESTS, "sum by (namespace, model, version) (rate(nv_inference_request_success[5m]))"),
        Record(QUEUE, f"({waited}) / ({requests} > 0)"),
    ]


def _alerts(scope: Scope) -> list[Alert]:
    wanted = f"kube_deployment_spec_replicas{{{scope.serving}}}"
    there = f"kube_deployment_status_replicas_available{{{scope.serving}}}"
    here = "on (namespace, deployment)"
    most = f"kube_horizontalpodautoscaler_spec_max_replicas{{{scope.serving}}}"
    now = f"kube_horizontalpodautoscaler_status_current_replicas{{{scope.serving}}}"
    waiting = "sum by (namespace, model) (nv_inference_pending_request_count)"
    answered = "sum by (namespace, model) (rate(nv_inference_request_success[5m]))"
    return [
        Alert(
            name="InferenceDown",
            # Longer than a server at zero takes to wake; what users feel until then, RouteAvailabilityBurn tells.
            expr=f"{wanted} > 0 and {here} {there} == 0",
            lasts="15m",
            severity="critical",
            team="serving",
            dashboard="serving",
            summary="{{ $labels.namespace }}/{{ $labels.deployment }} has no replica that answers",
            description="{{ $value }} replicas are wanted and none has been ready for 15 minutes.",
        ),
        Alert(
            name="InferenceReplicasMissing",
            expr=f"{wanted} - {here} {there} > 0",
            lasts="30m",
            severity="warning",
            team="serving",
            dashboard="serving",
            summary="{{ $labels.namespace }}/{{ $labels.deployment }} lacks {{ $value }} replicas",
            description="They have not become ready for half an hour: no machine, or one that won't load.",
        ),
        Alert(
            name="InferenceStuck",
            expr=f"{waiting} > 0 and {answered} == 0",
            lasts="5m",
            severity="critical",
            team="serving",
            dashboard="serving",
            summary="{{ $labels.model }} in {{ $labels.namespace }} answers nothing",
            description="{{ $value }} requests wait and none was answered for five minutes: an instance hangs.",
        ),
        Alert(
            name="InferenceAtMostReplicas",
            expr=f"{now} >= on (namespace, horizontalpodautoscaler) {most}"
            f" and on (namespace) {QUEUE} > {scope.queue_ms:g}",
            lasts="15m",
            severity="warning",
            team="serving",
            dashboard="serving",
            summary="{{ $labels.horizontalpodautoscaler }} in {{ $labels.namespace }} may not grow, and requests wait",
            description="It has the most replicas that it may have, {{ $value }}, and a queue is longer than its "
            "objective.",
        ),
        Alert(
            name="ServingPodRestarting",
            expr="sum by (namespace, pod, container) "
            f"(increase(kube_pod_container_status_restarts_total{{{scope.serving}}}[30m])) > 3.5",
            severity="warning",
            team="serving",
            dashboard="serving",
            summary="{{ $labels.container }} of {{ $labels.namespace }}/{{ $labels.pod }} starts again and again",
            description="{{ $value | humanize }} times in half an hour.",
        ),
        Alert(
            name="RouteWithoutBackends",
            expr="sum by (namespace, envoy_cluster_name) (rate(envoy_cluster_upstream_cx_none_healthy[5m])) > 0",
            lasts="5m",
            severity="critical",
            team="serving",
            dashboard="serving",
            summary="requests to {{ $labels.envoy_cluster_name }} find nobody who could answer",
            description="The route sends {{ $value | humanize }} connections a second to a backend without healthy "
            "pods; each is answered with 503.",
        ),
        Alert(
            name="LanguageModelFull",
            expr="sum by (namespace, model) (avg_over_time(aicloud_language_model_running[10m]))"
            " / sum by (namespace, model) (aicloud_language_model_slots) > 0.95",
            lasts="15m",
            severity="warning",
            team="serving",
            dashboard="serving",
            summary="all slots of {{ $labels.model }} in {{ $labels.namespace }} are taken",
            description="{{ $value | humanizePercentage }} of its slots have been busy: new answers begin only when "
            "others end.",
        ),
        Alert(
            name="ScalerFailing",
            expr="sum by (scaledObject) (increase(keda_scaled_object_errors_total[15m])) > 5",
            lasts="10m",
            severity="warning",
            team="serving",
            dashboard="serving",
            summary="KEDA cannot tell how many replicas {{ $labels.scaledObject }} needs",
            description="{{ $value | humanize }} errors in a quarter of an hour. Its replicas are held as they are.",
        ),
    ]
