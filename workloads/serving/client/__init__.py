"""A client that asks inference servers and comes back with answers, whatever becomes of one server or region."""

from workloads.serving.client.asynchronous import AsyncClient
from workloads.serving.client.failures import (
    DeadlineExceeded,
    Kind,
    Refused,
    RequestFailed,
    StreamBroken,
    Unavailable,
)
from workloads.serving.client.messages import Answer, Endpoint, Request
from workloads.serving.client.policy import Policy
from workloads.serving.client.synchronous import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "Endpoint",
    "Kind",
    "Policy",
    "Refused",
    "Request",
    "RequestFailed",
    "StreamBroken",
    "Unavailable",
]
