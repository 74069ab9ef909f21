"""A tool that a model may call: its name, what it is for, and the JSON schema of its arguments.

Made by hand, of a typed function, or of the dict that a provider's own documentation shows. Knows how to
judge the arguments of a call; runs nothing and knows no provider.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast, get_args, get_type_hints

import msgspec

from streamkit.errors import ConfigError, RemoteProtocolError, scrub

__all__ = ["Tool", "schema_of"]

_EMPTY: Final = inspect.Parameter.empty
_NAME: Final = re.compile(r"[\w.:-]{1,128}")
_ARGS_HEADING: Final = re.compile(r"^\s*(?:Args|Arguments|Parameters):\s*$")
_ARGUMENT: Final = re.compile(r"^(?P<indent>\s+)\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?:\s*(?P<text>.*)$")


class Tool(msgspec.Struct, frozen=True):
    """A tool that a model may call.

    Args:
        name: What the model calls it: letters, digits and `_.:-`, at most 128.
        description: What it does, for the model.
        parameters: The JSON schema of its arguments, an object.
        function: What to run, sync or async; None where something else runs it.
        strict: Whether the provider shall hold the arguments to the schema; None leaves it to the provider.

    Raises:
        ConfigError: a name that no provider takes, or parameters that are no schema of an object.

    `Tool.of` makes one of a typed function or of a provider's dict.

    >>> Tool("now", "The time of day.", {"type": "object", "properties": {}})
    <Tool now()>
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    function: Callable[..., object] | None = None
    strict: bool | None = None

    @classmethod
    def of(cls, value: object) -> Tool:
        """A tool of what people have at hand.

        Args:
            value: A `Tool` is taken as it is. A function, sync or async, gives its name, the first paragraph of its
                docstring, the `Args:` lines as descriptions, and its annotations as a JSON schema (what msgspec
                knows: numbers, texts, `Literal`, `X | None`, `Annotated[int, msgspec.Meta(ge=0)]`, enums,
                dataclasses, TypedDicts, Structs; and pydantic models). A dict is a function tool as
                OpenAI (`{"type": "function", "function": {...}}`, or flat) or Anthropic
                (`{"name": ..., "input_schema": {...}}`) documents it.

        Raises:
            ConfigError: a parameter without annotation, one that cannot be given by name or has no JSON
                schema; a dict of another shape; anything else.

        >>> def add(a: int, b: int = 0) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> tool = Tool.of(add)
        >>> tool, tool.parameters["required"]
        (<Tool add(a, b)>, ['a'])
        """
        if isinstance(value, Tool):
            return value
        if isinstance(value, Mapping):
            return _of_mapping(cast("Mapping[str, object]", value))
        if callable(value) and not inspect.isclass(value):
            return _of_function(value)
        raise ConfigError(f"a tool is a typed function, a Tool or a provider's dict; got {type(value).__name__}")

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigError(f"a tool's name is 1 to 128 letters, digits and _.:-, got {scrub(repr(self.name), 60)}")
        if not isinstance(self.description, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # same
            raise ConfigError(f"the description of tool {self.name!r} is a str, got {type(self.description).__name__}")
        if not isinstance(self.parameters, Mapping) or self.parameters.get("type", "object") != "object":  # pyright: ignore[reportUnnecessaryIsInstance]  # same
            raise ConfigError(f'the parameters of tool {self.name!r} are a JSON schema with "type": "object"')

    def call_arguments(self, value: object) -> dict[str, object]:
        """The arguments of a call, as the function wants them: `tool.function(**arguments)`.

        Args:
            value: The arguments as a JSON value (`ToolCall.input()`).

        Values are converted to the annotations (a dict becomes the dataclass, "2026-01-31" the date). What was
        left out is left out, so the function's own defaults apply. What has no annotation is taken as it is, and
        without a function the value must only be an object.

        Raises:
            RemoteProtocolError: they do not fit, which is the model's doing: the message names the argument and is
                fit to be sent back as the tool's result.
            ConfigError: an annotation that no JSON value can become.

        >>> def add(a: int, b: int = 0) -> int:
        ...     return a + b
        >>> Tool.of(add).call_arguments({"a": 2})
        {'a': 2}
        """
        if not isinstance(value, Mapping):
            raise RemoteProtocolError(f"the arguments of tool call {self.name!r} are an object, and the model gave {_kind(value)}")
        given = cast("Mapping[str, object]", value)
        if self.function is None:
            return dict(given)
        try:
            shape, takes_more = _shape_of(self.function, strict=False)
            known = {field: given[field] for field in shape.__struct_fields__ if field in given}
            unknown = [name for name in given if name not in known]
            if unknown and not takes_more:
                raise msgspec.ValidationError(f"there is no argument {scrub(repr(unknown[0]), 60)}")
            filled = msgspec.convert(known, shape, dec_hook=_decode_other)
        except msgspec.ValidationError as error:
            said = scrub(str(error), 200).replace("`$.", "`").replace("object missing", "missing")
            raise RemoteProtocolError(f"the arguments of tool call {self.name!r} do not fit: {said}") from None
        except (NotImplementedError, TypeError) as error:
            raise ConfigError(f"the arguments of tool {self.name!r} cannot be made of JSON: {scrub(str(error), 120)}") from None
        arguments: dict[str, object] = {name: getattr(filled, name) for name in known}
        arguments.update((name, given[name]) for name in unknown)
        return arguments

    def __repr__(self) -> str:
        """The name and the names of its parameters."""
        properties = self.parameters.get("properties")
        names = ", ".join(map(str, cast("Mapping[str, object]", properties))) if isinstance(properties, Mapping) else ""
        return f"<Tool {self.name}({names})>"


def schema_of(kind: object) -> dict[str, object]:
    """The JSON schema of a type: whatever msgspec knows, and pydantic models.

    Raises:
        ConfigError: the type has none.

    >>> schema_of(list[int])
    {'type': 'array', 'items': {'type': 'integer'}}
    """
    if _is_pydantic(kind):
        return cast("dict[str, object]", cast("Any", kind).model_json_schema())
    hoisted: dict[str, object] = {}

    def of_other(other: type) -> dict[str, Any]:
        if not _is_pydantic(other):
            raise NotImplementedError
        schema: dict[str, Any] = cast("Any", other).model_json_schema(ref_template="#/$defs/{model}")
        hoisted.update(schema.pop("$defs", {}))  # what it refers to is looked for at the root
        return schema

    try:
        schema: dict[str, object] = msgspec.json.schema(kind, schema_hook=of_other)
    except (TypeError, NotImplementedError) as error:
        raise ConfigError(f"there is no JSON schema for {_type_name(kind)}: {scrub(str(error), 200)}") from None
    definitions = {**cast("dict[str, object]", schema.pop("$defs", {})), **hoisted}
    reference = schema.get("$ref")
    if isinstance(reference, str) and len(schema) == 1:
        name = reference.rpartition("/")[2]
        top = cast("dict[str, object]", definitions[name])
        # A type that holds itself must stay findable.
        if f'"{reference}"'.encode() not in msgspec.json.encode(definitions):
            del definitions[name]
        schema = dict(top)
    if definitions:
        schema["$defs"] = definitions
    return schema


def _of_mapping(value: Mapping[str, object]) -> Tool:
    inner = value.get("function")
    if isinstance(inner, Mapping) and value.get("type", "function") == "function":
        value = cast("Mapping[str, object]", inner)
        parameters = value.get("parameters")
    elif value.get("type") == "function":
        parameters = value.get("parameters")
    elif "input_schema" in value and value.get("type", "custom") in ("custom", None):
        parameters = value["input_schema"]
    else:
        what = scrub(repr(value.get("type")), 60) if "type" in value else f"keys {scrub(', '.join(map(str, value)), 80)}"
        raise ConfigError(
            f"a dict with {what} is no function tool: it has type, function and name, or (Anthropic) name and input_schema"
        )
    strict = value.get("strict")
    return Tool(
        cast("str", value.get("name")),
        cast("str", value.get("description") or ""),
        cast("Mapping[str, object]", {"type": "object", "properties": {}} if parameters is None else parameters),
        strict=strict if isinstance(strict, bool) else None,
    )


def _of_function(function: Callable[..., object]) -> Tool:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(
            f"a {type(function).__name__} has no name to call it by: use Tool(name, description, parameters, function)"
        )
    shape, takes_more = _shape_of(function)
    schema = schema_of(shape)
    properties = cast("dict[str, dict[str, object]]", schema.get("properties", {}))
    description, arguments = _documentation(inspect.getdoc(function) or "")
    hints = _hints_of(function)
    for argument, property in properties.items():
        text = _annotated_text(hints[argument]) or arguments.get(argument)
        if text and "description" not in property:
            if "$ref" in property:  # a reference stands alone
                property = properties[argument] = {"anyOf": [dict(property)]}
            property["description"] = text
    parameters: dict[str, object] = {"type": "object", "properties": properties, "required": schema.get("required", [])}
    if not takes_more:
        parameters["additionalProperties"] = False
    if "$defs" in schema:
        parameters["$defs"] = schema["$defs"]
    return Tool(name, description, parameters, function)


def _shape_of(function: Callable[..., object], *, strict: bool = True) -> tuple[type[msgspec.Struct], bool]:
    """A struct with the function's parameters as fields, and whether it takes others too.

    Strict is for a schema, which needs to know all; else what is not said is anything.
    """
    name = getattr(function, "__name__", type(function).__name__)
    hints = _hints_of(function)
    fields: list[tuple[str, Any, Any]] = []
    takes_more = False
    for parameter in _parameters_of(function):
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            if not strict:
                continue
            raise ConfigError(
                f"tool {name!r}: the parameter {parameter.name!r} cannot be given by name, and a model only does that"
            )
        if strict and parameter.name not in hints:
            raise ConfigError(
                f"tool {name!r}: the parameter {parameter.name!r} has no annotation, and the model must know what to send"
            )
        fields.append((parameter.name, hints.get(parameter.name, Any), _default(parameter)))
    return msgspec.defstruct(f"{name}_arguments", fields, kw_only=True), takes_more


def _parameters_of(function: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # some that are written in C say nothing
        return [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)]


def _default(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if default is _EMPTY:
        return msgspec.NODEFAULT
    if isinstance(default, (str, int, float, bool, type(None), tuple)):
        return cast("object", default)
    return msgspec.field(default_factory=lambda: default)  # never used: what was left out is left to the function


def _hints_of(function: Callable[..., object]) -> dict[str, Any]:
    if isinstance(function, partial):
        function = cast("Callable[..., object]", function.func)
    elif not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise ConfigError(f"tool {name!r}: its annotations cannot be read: {scrub(str(error), 200)}") from None


def _annotated_text(hint: object) -> str | None:
    """A description inside `Annotated[...]`: a text, or anything that has one (msgspec.Meta, pydantic's Field)."""
    for extra in getattr(hint, "__metadata__", ()):
        text = extra if isinstance(extra, str) else getattr(extra, "description", None)
        if isinstance(text, str) and text:
            return text
    return None


def _documentation(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's first paragraph, and its lines about arguments."""
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    arguments: dict[str, str] = {}
    lines = iter(text.splitlines())
    if not any(_ARGS_HEADING.match(line) for line in lines):
        return paragraph, arguments
    indent = name = ""
    for line in lines:
        if line.strip() and not line[0].isspace():
            break
        found = _ARGUMENT.match(line)
        if found and (not indent or found["indent"] == indent):
            indent, name = found["indent"], found["name"]
            arguments[name] = found["text"].strip()
        elif name and line.strip():
            arguments[name] = f"{arguments[name]} {line.strip()}".strip()
    return paragraph, arguments


def _is_pydantic(kind: object) -> bool:
    return inspect.isclass(kind) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def _decode_other(kind: type, value: object) -> object:
    if not _is_pydantic(kind):
        raise NotImplementedError(f"{kind.__name__} is not one of the types that msgspec and pydantic know")
    try:
        return cast("Any", kind).model_validate(value)
    except ValueError as error:
        # pydantic's own text repeats the values, which may be private.
        first = cast("Any", error).errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _type_name(kind: object) -> str:
    return getattr(kind, "__name__", None) or (str(kind) if get_args(kind) else type(kind).__name__)
