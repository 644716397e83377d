"""A component's arguments against their TypedDict, which Python itself never looks at."""

import difflib
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pulumi


def check(where: str, args: Any, kind: type) -> None:
    """Refuse a key that `kind` doesn't have, one that it requires and is absent, and a plain value of another type.

    `where` is how the component is called, such as `GpuCluster 'main'`; ValueError begins with it and names the
    argument with its path, the value and what is accepted. Outputs are left alone: their values come later.
    """
    _check_object(f"{where}: ", "", args, kind)


def _check_object(where: str, path: str, args: Any, kind: Any) -> None:
    if not isinstance(args, Mapping):
        raise ValueError(f"{where}{path.rstrip('.') or 'arguments'}: expected a dict, got {args!r}")
    # pulumi.Input is written with a forward reference to Output[T].
    hints = get_type_hints(kind, localns={"Output": pulumi.Output, "T": Any})
    for key in args:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(hints)}"
            raise ValueError(f"{where}{path}{key}: unknown argument; {hint}")
    for key in sorted(kind.__required_keys__):
        if args.get(key) is None:
            raise ValueError(f"{where}{path}{key}: is missing")
    for key, value in args.items():
        if value is not None:
            _check_value(where, f"{path}{key}", value, hints[key])


def _check_value(where: str, path: str, value: Any, hint: Any) -> None:
    if isinstance(value, pulumi.Output):
        return
    if get_origin(hint) in (Union, UnionType):
        # Optional[...] has one alternative besides None; pulumi.Input[...] has several, and Pulumi checks those.
        alternatives = [one for one in get_args(hint) if one is not type(None)]
        if len(alternatives) == 1:
            _check_value(where, path, value, alternatives[0])
    elif is_typeddict(hint):
        _check_object(where, f"{path}.", value, hint)
    elif get_origin(hint) is list:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}{path}: expected a list, got {value!r}")
        for index, item in enumerate(value):
            _check_value(where, f"{path}[{index}]", item, get_args(hint)[0])
    elif get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}{path}: expected a dict, got {value!r}")
    elif hint in _PLAIN and not _PLAIN[hint](value):
        raise ValueError(f"{where}{path}: expected {hint.__name__}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    float: _is_number,
    # Through the component package's protocol every number arrives as a float.
    int: lambda value: _is_number(value) and float(value).is_integer(),
}
