"""Tools: what a function, a Tool or a provider's dict says to the model, and which arguments fit."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

import streamkit as sk
from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.events.tool import schema_of


@dataclasses.dataclass
class Place:
    city: str
    country: str = "DE"


class Range(TypedDict):
    low: int
    high: int


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


class Team(pydantic.BaseModel):
    people: list[Person]


async def weather(
    place: Place,
    unit: Literal["c", "f"] = "c",
    days: Annotated[int, msgspec.Meta(ge=1, le=7)] = 1,
    since: datetime.date | None = None,
) -> str:
    """Tell the weather
    of a place.

    More that only people read.

    Args:
        place: Where, as
            exactly as known.
        unit: Celsius or Fahrenheit.

    Returns:
        since: this is no argument.
    """
    return f"{place.city} {unit} {days} {since}"


def test_a_function_says_its_name_first_paragraph_and_schema() -> None:
    tool = sk.Tool.of(weather)
    assert ("weather", "Tell the weather of a place.") == (tool.name, tool.description)
    assert weather is tool.function
    properties: Any = tool.parameters["properties"]
    assert ["place"] == tool.parameters["required"]
    assert tool.parameters["additionalProperties"] is False
    assert {"enum": ["c", "f"], "default": "c", "description": "Celsius or Fahrenheit."} == properties["unit"]
    assert {"type": "integer", "minimum": 1, "maximum": 7, "default": 1} == properties["days"]
    assert {"anyOf": [{"$ref": "#/$defs/Place"}], "description": "Where, as exactly as known."} == properties["place"]
    assert ["city"] == tool.parameters["$defs"]["Place"]["required"]  # type: ignore[index]  # a mapping of objects
    assert "description" not in properties["since"]


def test_arguments_are_converted_to_the_annotations_and_defaults_left_alone() -> None:
    tool = sk.Tool.of(weather)
    assert {"place": Place("Bonn", "DE")} == tool.call_arguments({"place": {"city": "Bonn"}})
    got = tool.call_arguments({"place": {"city": "Bonn"}, "since": "2026-01-31", "days": 3})
    assert {"place": Place("Bonn", "DE"), "since": datetime.date(2026, 1, 31), "days": 3} == got


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "missing required field `place`"),
        ({"place": {"city": "x"}, "days": 9}, "<= 7 - at `days`"),
        ({"place": {"city": 1}}, r"Expected `str`, got `int` - at `place.city`"),
        ({"place": {"city": "x"}, "unit": "k"}, "Invalid enum value 'k' - at `unit`"),
        ({"place": {"city": "x"}, "planet": 1}, "there is no argument 'planet'"),
        ([1], "are an object, and the model gave a list"),
        (None, "are an object, and the model gave null"),
    ],
)
def test_arguments_that_do_not_fit_name_the_argument(value: object, said: str) -> None:
    with pytest.raises(RemoteProtocolError, match=said):
        sk.Tool.of(weather).call_arguments(value)


def test_typed_dicts_and_pydantic_models_are_parameters() -> None:
    def sort(team: Team, within: Range) -> None: ...

    tool = sk.Tool.of(_with_hints(sort, team=Team, within=Range))
    definitions: Any = tool.parameters["$defs"]
    assert {"Person", "Range"} <= set(definitions)
    got = tool.call_arguments({"team": {"people": [{"name": "A", "age": 3}]}, "within": {"low": 1, "high": 2}})
    assert {"team": Team(people=[Person(name="A", age=3)]), "within": {"low": 1, "high": 2}} == got
    with pytest.raises(RemoteProtocolError, match=r"people.0.age: Input should be greater than or equal to 0") as caught:
        tool.call_arguments({"team": {"people": [{"name": "secret name", "age": -1}]}, "within": {"low": 1, "high": 2}})
    assert "secret name" not in str(caught.value)


def _with_hints(function: Any, **hints: Any) -> Any:
    function.__annotations__ = hints
    return function


def test_descriptions_inside_annotated_are_used() -> None:
    def look(where: Annotated[str, "the street"], what: Annotated[int, msgspec.Meta(description="a number")]) -> None: ...

    properties: Any = sk.Tool.of(
        _with_hints(look, where=Annotated[str, "the street"], what=Annotated[int, msgspec.Meta(description="a number")])
    ).parameters["properties"]
    assert ["the street", "a number"] == [properties["where"]["description"], properties["what"]["description"]]


def test_a_function_with_open_keywords_takes_other_arguments() -> None:
    def log(text: str, **more: object) -> None: ...

    tool = sk.Tool.of(_with_hints(log, text=str, more=object))
    assert "additionalProperties" not in tool.parameters
    assert {"text": "a", "level": 3} == tool.call_arguments({"text": "a", "level": 3})


def test_a_mutable_default_stays_the_functions_own() -> None:
    def pick(names: list[str] = ["a"]) -> None: ...  # noqa: B006  # what is tested

    tool = sk.Tool.of(_with_hints(pick, names=list[str]))
    assert [] == tool.parameters["required"]
    assert {} == tool.call_arguments({})


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    "value",
    [
        {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA, "strict": True}},
        {"type": "function", "name": "add", "description": "Adds.", "parameters": SCHEMA, "strict": True},
        {"name": "add", "description": "Adds.", "input_schema": SCHEMA, "strict": True},
        {"type": "custom", "name": "add", "description": "Adds.", "input_schema": SCHEMA, "strict": True},
        sk.Tool("add", "Adds.", SCHEMA, strict=True),
    ],
)
def test_the_dicts_of_providers_are_tools(value: object) -> None:
    assert sk.Tool("add", "Adds.", SCHEMA, strict=True) == sk.Tool.of(value)


def test_a_tool_without_function_only_wants_an_object() -> None:
    tool = sk.Tool.of({"name": "add", "input_schema": SCHEMA})
    assert {"a": "x"} == tool.call_arguments({"a": "x"})
    assert "<Tool add(a)>" == repr(tool)
    with pytest.raises(RemoteProtocolError, match="an object"):
        tool.call_arguments("a")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda: 3, "has no name"),
        (print, "cannot be given by name|cannot be read|no annotation"),
        (3, "got int"),
        (Place, "got type"),
        ({"type": "web_search"}, "'web_search' is no function tool"),
        ({"title": "x"}, "keys title"),
        ({"name": "two words", "input_schema": SCHEMA}, "letters, digits"),
        ({"name": "a", "input_schema": {"type": "array"}}, '"type": "object"'),
    ],
)
def test_what_is_no_tool_is_refused_at_the_call(value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sk.Tool.of(value)


def test_a_parameter_without_annotation_is_named() -> None:
    def add(a: int, b) -> int:  # type: ignore[no-untyped-def]  # what is tested
        return a

    with pytest.raises(ConfigError, match="tool 'add': the parameter 'b' has no annotation"):
        sk.Tool.of(add)


def test_a_type_without_schema_is_named() -> None:
    def run(what: object) -> None: ...

    with pytest.raises(ConfigError, match="no JSON schema"):
        sk.Tool.of(_with_hints(run, what=sk.Stream))


def test_a_type_that_holds_itself_has_a_schema_that_resolves() -> None:
    schema: Any = schema_of(Node)
    assert "#/$defs/Node" in msgspec.json.encode(schema).decode()
    assert "Node" in schema["$defs"]


class Node(msgspec.Struct):
    children: list[Node] = []


class Doubler:
    """Callable, and without a name."""

    def __call__(self, number: int) -> int:
        return number * 2


def plain(first, second=2):  # type: ignore[no-untyped-def]  # what is tested
    return first + second


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (plain, {"first": "a"}, {"first": "a"}),
        (lambda **arguments: arguments, {"x": 1}, {"x": 1}),
        (Doubler(), {"number": 4}, {"number": 4}),
        (functools.partial(weather, unit="c"), {"place": {"city": "Bonn"}}, {"place": Place("Bonn")}),
        (dict, {"x": 1}, {"x": 1}),
    ],
)
def test_a_tool_made_by_hand_may_run_anything(function: Any, given: Any, expected: object) -> None:
    assert expected == sk.Tool("x", "", SCHEMA, function).call_arguments(given)


def test_a_tool_made_by_hand_still_knows_its_functions_parameters() -> None:
    with pytest.raises(RemoteProtocolError, match="missing required field `first`"):
        sk.Tool("x", "", SCHEMA, plain).call_arguments({})
    with pytest.raises(RemoteProtocolError, match="Expected `int`, got `str` - at `number`"):
        sk.Tool("x", "", SCHEMA, Doubler()).call_arguments({"number": "4"})
    with pytest.raises(ConfigError, match="has no name to call it by"):
        sk.Tool.of(Doubler())


def test_an_annotation_that_json_cannot_become_is_named() -> None:
    def look(where: Doubler) -> None: ...

    tool = sk.Tool("look", "", SCHEMA, _with_hints(look, where=Doubler))
    with pytest.raises(ConfigError, match="tool 'look' cannot be made of JSON: Doubler is not one"):
        tool.call_arguments({"where": 1})
