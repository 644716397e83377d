"""What is wrong with a configuration, as one line each: the key's path, the value, and what is accepted."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_MISSING, _UNKNOWN = object(), object()
_MANY = 15
"""More choices than this are not listed, only the nearest."""


@dataclass(frozen=True)
class Problem:
    """One wrong value."""

    path: str
    """The key's path, such as `ai-cloud:nodePools[2].max`."""
    value: Any
    accepted: str
    """What the value may be, as the end of a sentence that begins with `expected`."""

    @classmethod
    def missing(cls, path: str, accepted: str) -> Problem:
        return cls(path, _MISSING, accepted)

    @classmethod
    def unknown(cls, path: str, keys: Iterable[str]) -> Problem:
        """A key that nothing reads."""
        return cls(path, _UNKNOWN, did_you_mean(re.split(r"[.:]", path)[-1], keys))

    def __str__(self) -> str:
        special = {id(_MISSING): "is missing", id(_UNKNOWN): "no such key"}
        return f"{self.path}: {special.get(id(self.value), f'got {_shown(self.value)}')}; expected {self.accepted}"


class SettingsError(ValueError):
    """A configuration that cannot be used; `problems` are all that is wrong with it, in the order of the paths."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: _natural(problem.path))
        count = f"{len(self.problems)} wrong value{'s' if len(self.problems) > 1 else ''} in the configuration"
        super().__init__("\n  ".join([f"{count}:", *map(str, self.problems)]))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`one of a, b, c`, with the nearest choice where the word looks like a slip of the pen."""
    known = list(known)
    # a word that was cut short (h100) is nearer than one that differs by a letter (h200)
    begun = [name for name in known if isinstance(word, str) and len(word) > 1 and name.startswith(word)]
    close = begun or difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if len(known) > _MANY:
        return f"one of {len(known)}, such as {', '.join(difflib.get_close_matches(str(word), known, 5, 0))}{hint}"
    return f"one of {', '.join(known) or 'none'}{hint}"


def of_pydantic(hint: Any, path: str, detail: Any) -> Problem:
    """A pydantic error about a value of type `hint` at `path`, in our words."""
    location = [part for part in detail["loc"] if part != "[key]"]
    model, field = _descend(hint, location)
    place = path + "".join(_step(part) for part in location)
    about = f" ({field.description})" if field and field.description else ""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return Problem.missing(place, str(field.description) if field else "a value")
        case "extra_forbidden":
            return Problem.unknown(place, [str(known.alias) for known in model.model_fields.values()] if model else [])
        case "literal_error":
            known = re.findall(r"[^\s',]+", context["expected"].replace(" or ", " "))
            return Problem(place, detail["input"], did_you_mean(detail["input"], known))
        case "value_error":
            return Problem(place, detail["input"], str(context["error"]))
    return Problem(place, detail["input"], _wording(detail["type"], context, detail["msg"]) + about)


def item_model(hint: Any) -> type[BaseModel] | None:
    """The model that a list of models consists of."""
    bare = _bare(hint)
    if get_origin(bare) is not tuple:
        return None
    item = _bare(get_args(bare)[0])
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None


def _wording(kind: str, context: dict[str, Any], fallback: str) -> str:
    match kind:
        case "string_type":
            return "text, in quotes where it looks like a number"
        case "bool_type":
            return "true or false"
        case "int_type" | "int_from_float" | "int_parsing":
            return "a whole number"
        case "float_type":
            return "a number"
        case "tuple_type" | "list_type":
            return "a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "a mapping"
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "greater_than":
            return f"more than {context['gt']:g}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "too_short":
            return f"at least {context['min_length']} of them"
    return fallback


def _descend(hint: Any, location: Sequence[Any]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The innermost model on the way to a location, and the field at its end."""
    model: type[BaseModel] | None = None
    field: FieldInfo | None = None
    for part in location:
        field, hint = None, _bare(hint)
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            model = hint
            field = next((known for known in hint.model_fields.values() if known.alias == part), None)
            hint = field.annotation if field else None
        else:
            arguments = get_args(hint)
            hint = arguments[-1 if get_origin(hint) is dict else 0] if arguments else None
    return model, field


def _bare(hint: Any) -> Any:
    """The type without Annotated and without None."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return _bare(next(option for option in get_args(hint) if option is not type(None)))
    return hint


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if part.isidentifier() else f'["{part}"]'


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
