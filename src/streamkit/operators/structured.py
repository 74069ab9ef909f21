"""Structured output as operators: the JSON values in a text, and a value of a type that grows."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from streamkit.events.model import Event
from streamkit.flow.plan import Op, Step, call_label, check_count, unless
from streamkit.flow.typed_parts import MAX_DEPTH as MAX_TYPED_DEPTH
from streamkit.flow.typed_parts import parse_part
from streamkit.stages.growing import Parsed
from streamkit.stages.partial_json import MAX_CHARS, MAX_DEPTH
from streamkit.stages.shapes import shape_of
from streamkit.stages.values_in_text import JsonValues

__all__ = ["json_values", "parse"]

T = TypeVar("T")


@overload
def json_values(
    path: str | None = None, *, of: None = None, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
) -> Op[str, object]: ...
@overload
def json_values(
    path: str | None = None, *, of: type[T], strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
) -> Op[str, T]: ...
@overload
def json_values(
    path: str | None = None, *, of: object, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
) -> Op[str, Any]: ...
def json_values(
    path: str | None = None, *, of: object = None, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
) -> Op[str, Any]:
    """Take JSON values out of a text, each when its last character has come.

    Args:
        path: Give the items of an array inside each value, one by one, instead of the value: "items.*", "data.rows.*", or
            "*" where the value is the array. A value that has nothing there gives nothing.
        of: The type of what is given (see `parse`); None gives dicts, lists and so on.
        strict: Whether the text is JSON values and nothing else: JSON lines, or one behind the other. If not,
            objects and arrays are found among other text, also in fences of code. A bracket of prose that is no JSON is
            passed over; one that is, such as "[1]", is a value.
        max_chars: Longest value, in characters; with a path, the most between two items.
        max_depth: Most containers inside each other.

    Yields:
        The values, or items, in their order. How the text was cut changes nothing.

    Memory: one value; with a path one item and what stands beside the array. Time is linear in the text.
    Cancellation: an open value is dropped; the source is closed.
    Raises:
        ConfigError: bounds below 1, a path without its star, a type that cannot be read from JSON, at the call.
        RemoteProtocolError: a text that ends inside a value, with the value so far as `.partial`; a bound that is
            passed; with `strict`, what is no JSON (RFC 8259); with a path, something else than an array there.
        TypeMismatch: JSON of another type than `of`.

    >>> text = stream(['Two cities: {"items": [{"name": "Par', 'is"}, {"name": "Rome"}]} as asked.'])
    >>> run((text | json_values("items.*")).collect())
    [{'name': 'Paris'}, {'name': 'Rome'}]
    >>> run((stream(['{"n": 1} {"n"', ': 2}']) | json_values()).collect())
    [{'n': 1}, {'n': 2}]
    """
    _check_bounds("json_values", max_chars, max_depth)
    if path is not None and not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"json_values(path=...) takes a str, got {type(path).__name__}")
    shape = None if of is None else shape_of(of)

    def make() -> JsonValues:
        return JsonValues(path, shape=shape, strict=strict, max_chars=max_chars, max_depth=max_depth)

    make()  # what cannot work is said here
    return Op(Step("stage", call_label("json_values", path, of=of, strict=unless(False, strict)), make))


@overload
def parse(
    of: type[T], *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_TYPED_DEPTH
) -> Op[str | Event, Parsed[T]]: ...
@overload
def parse(
    of: object, *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_TYPED_DEPTH
) -> Op[str | Event, Parsed[Any]]: ...
def parse(
    of: object, *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_TYPED_DEPTH
) -> Op[str | Event, Parsed[Any]]:
    """Read a value of a type from the JSON in a text while it arrives.

    Args:
        of: The type: a msgspec Struct, dataclass, TypedDict or pydantic model, and what is made of them with list, dict, unions
            (of tagged Structs, too), Literal, Enum, datetime and so on: all that msgspec or pydantic reads from JSON.
        strict: Whether the text is that JSON and nothing else. If not, text before it (prose, the fence of a block of code) is
            passed over up to the first place where such a value may begin, and text behind it is ignored. Where the type allows
            an object or array beside other values (`Any`, `Person | None`), only those are found in this way.
        max_chars: Longest value, in characters.
        max_depth: Most containers inside each other.

    Yields:
        A `Parsed` for each item that changed what can be seen. `.value` is live: the same object each time, growing,
        also if its class is frozen, so copy it (`copy.deepcopy`) to keep a moment. Objects and lists are there from their
        first bracket, texts grow, all else comes when it is whole and fits its type; a field that has not come has its
        default or is None (in a TypedDict: is not there). A container that has ended is replaced, once, by one made and
        checked by its type. The last `Parsed` is `.complete`, and its value checked as a whole. How the text was cut
        changes nothing of that one. Of events, the text of choice 0 is read, and nothing else given.

    Memory: the value, as JSON and as objects. Time is linear in the text, but for containers inside each other: each is
    converted once for every one around it.
    Cancellation: an open value is dropped; the source is closed.
    Raises:
        ConfigError: bounds below 1, a type that cannot be read from JSON, at the call.
        TypeMismatch: JSON of another type, as soon as it can be known, with its `.path` and what was `.expected`.
        RemoteProtocolError: the text is no JSON (RFC 8259), ends before the value does, holds none, or passes a bound. The
            value so far is the error's `.partial`, here as for a TypeMismatch.

    >>> values = stream(['```json\\n{"name": "Ad', 'a", "tags": ["x"', "]}\\n```"]) | parse(dict[str, Any])
    >>> run(values.map(lambda one: (str(one.value), one.complete)).collect())[::2]
    [("{'name': 'Ad'}", False), ("{'name': 'Ada', 'tags': ['x']}", True)]
    """
    return Op(parse_part(of, strict, max_chars, max_depth))


def _check_bounds(operator: str, max_chars: int, max_depth: int) -> None:
    check_count(operator, "max_chars", max_chars, 1)
    check_count(operator, "max_depth", max_depth, 1)
