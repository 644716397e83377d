"""Inference of a language model: a cache of keys and values, and batches that requests join and leave between tokens.

engine = Engine("model.safetensors", slots=16, context=256)
handle = engine.submit(Request(tokens=(72, 101), max_new_tokens=32))
while engine.busy:
    for event in engine.step():
        ...
"""

from workloads.serving.engine.engine import Engine, Metrics
from workloads.serving.engine.files import Description, load, save
from workloads.serving.engine.requests import BadRequest, Event, Finish, Handle, QueueFull, Request

__all__ = [
    "BadRequest",
    "Description",
    "Engine",
    "Event",
    "Finish",
    "Handle",
    "Metrics",
    "QueueFull",
    "Request",
    "load",
    "save",
]
