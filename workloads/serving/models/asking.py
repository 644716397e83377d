"""What a request to a language model may say, and what of it is refused: pure, so that it is tested without a server.

The names are those of Triton's vLLM backend, so that a client asks this model and one behind vLLM in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workloads.serving.errors import ServingError

FLAGS = ("stream", "exclude_input_in_output", "return_finish_reason", "return_num_output_tokens")
SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop_token_ids")


class Refused(ServingError):
    """A request that cannot be answered; the message names the field, what it got and what is accepted."""


@dataclass(frozen=True)
class Asked:
    """A request, with what it does not say filled in. Values of `sampling` are checked by the engine."""

    text: str
    sampling: Mapping[str, Any]
    stream: bool = False
    exclude_input_in_output: bool = True
    return_finish_reason: bool = False
    return_num_output_tokens: bool = False


def asked(
    text: bytes, longest: int, flags: Mapping[str, bool], sampling: bytes | None = None, parameters: str | None = None
) -> Asked:
    """Read a request. Raises Refused.

    `longest`: bytes of text that could fit. `flags`: the inputs that are there, by name. `sampling`: the input
    `sampling_parameters`. `parameters`: of the request, as JSON; they give way to inputs.
    """
    if len(text) > longest:
        raise Refused(f"text_input: {len(text)} bytes; this model reads at most {longest}")
    try:
        prompt = text.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"text_input: not UTF-8 at byte {error.start}: {error.reason}") from None
    if not prompt:
        raise Refused("text_input: it is empty; expected at least one character")
    known = _object(parameters or "{}", "parameters")
    given = {name: known.pop(name) for name in FLAGS if name in known}
    for name, value in given.items():
        if not isinstance(value, bool):
            raise Refused(f"parameters.{name}: {value!r:.80}: expected true or false")
    chosen = known | (_object(sampling, "sampling_parameters") if sampling else {})
    if unknown := sorted(set(chosen) - set(SAMPLING)):
        raise Refused(f"parameters: {unknown[0]!r:.80} is not known; expected some of {', '.join(SAMPLING + FLAGS)}")
    return Asked(prompt, chosen, **{**given, **flags})


def _object(text: str | bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{place}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused(f"{place}: {found!r:.80}: expected a JSON object")
    return found
