"""Values of a type that grow: what is shown when, what is checked when, and what it may cost."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import tracemalloc
from collections.abc import Iterable
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import cut_at, places, steps

from streamkit.errors import ConfigError, RemoteProtocolError, TypeMismatch
from streamkit.events import ErrorEvent, Event, Finish, Ping, ReasoningDelta, TextDelta, Usage
from streamkit.stages.growing import GrowingValue, Parsed
from streamkit.stages.shapes import shape_of

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(msgspec.Struct):
    id: int
    name: str
    price: float = 0.5
    tags: list[str] = []


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float
    label: str = ""


class Order(msgspec.Struct, frozen=True, rename="camel"):
    the_title: str
    items: list[Item]
    shape: Circle | Square | None = None
    day: datetime.date | None = None
    color: Color = Color.RED
    kind: Literal["new", "old"] = "new"
    extra: dict[str, Any] = {}
    pair: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        if not self.the_title:
            raise ValueError("an order without a title")


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    names: list[str] = dataclasses.field(default_factory=list)


class Movie(TypedDict):
    name: str
    year: NotRequired[int]


class Box(msgspec.Struct, Generic[T]):
    inside: T


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


class Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    n: int
    note: str = "none"


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str


class Model(pydantic.BaseModel):
    title: str = pydantic.Field(alias="Title", min_length=2)
    parts: list[Part]
    day: datetime.date | None = None
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")] | None = None
    words: list[str] = []

    @pydantic.field_validator("words", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        return value.split() if isinstance(value, str) else value


ORDER = (
    '{"theTitle": "He\\"llo", "items": [{"id": 1, "name": "Ada", "tags": ["x", "yz"]}, {"id": 2, "name": "B", "price": 2}],'
    ' "shape": {"label": "L", "type": "square", "side": 3}, "day": "2024-05-06", "color": "blue", "kind": "old",'
    ' "extra": {"a": [1, {"b": "c"}]}, "pair": [1, "one"]}'
)
MODEL = (
    '{"Title": "abc", "parts": [{"n": 1, "note": "so"}, {"n": 2}], "day": "2024-05-06",'
    ' "pet": {"kind": "dog", "name": "Rex"}, "words": "a b"}'
)


def records(type: object, chunks: Iterable[str | Event], **options: Any) -> list[Parsed[Any]]:
    """What is given, each value as it was then."""
    import copy

    stage = GrowingValue(shape_of(type), **options)
    given = [msgspec.structs.replace(one, value=copy.deepcopy(one.value)) for chunk in chunks for one in stage.feed(chunk)]
    return [*given, *stage.flush()]


def values(type: object, *chunks: str) -> list[Any]:
    return [one.value for one in records(type, chunks)]


def mismatch(type: object, text: str) -> tuple[str, TypeMismatch]:
    """What had been read when it failed, and how."""
    stage = GrowingValue(shape_of(type))
    for at, char in enumerate(text):
        try:
            list(stage.feed(char))
        except TypeMismatch as error:
            return text[: at + 1], error
    raise AssertionError("it fits")


@pytest.mark.parametrize(
    ("type", "text", "final"),
    [
        (Order, ORDER, msgspec.json.decode(ORDER, type=Order)),
        (list[Item], '[{"id":1,"name":"a"}]', [Item(1, "a")]),
        (Point, '{"x": 1, "names": ["a"]}', Point(1, names=["a"])),
        (Movie, '{"name": "M", "year": 1}', {"name": "M", "year": 1}),
        (Box[int], '{"inside": 3}', Box(3)),
        (Tree, '{"name":"a","children":[{"name":"b","children":[{"name":"c"}]}]}', Tree("a", [Tree("b", [Tree("c")])])),
        (dict[str, list[int]], '{"a": [1], "b": []}', {"a": [1], "b": []}),
        (dict[int, str], '{"1": "a"}', {1: "a"}),
        (dict, '{"a": [1]}', {"a": [1]}),
        (Model, MODEL, Model.model_validate_json(MODEL)),
        (list[Part], '[{"n": 1}]', [Part(n=1)]),
        (Part | None, '{"n": 1}', Part(n=1)),
        (Box[Part], '{"inside": {"n": 1}}', Box(Part(n=1))),
        (Annotated[list[int], msgspec.Meta(min_length=1)], "[1]", [1]),
        (set[int], "[1, 1]", {1}),
        (Any, '{"a": [1]}', {"a": [1]}),
        (NewType("Name", str), '"x"', "x"),
        (int, "12", 12),
        (Color, '"red"', Color.RED),
        (datetime.datetime, '"2024-01-01T00:00:00"', datetime.datetime(2024, 1, 1)),
        (str | int, '"x"', "x"),
    ],
)
def test_the_last_value_is_what_the_type_makes_of_the_whole_text_for_any_cut(type: object, text: str, final: object) -> None:
    for chunks in ([text], list(text), [text[at : at + 3] for at in range(0, len(text), 3)]):
        given = records(type, chunks)
        assert Parsed(final, True) == given[-1]
        assert [False] * (len(given) - 1) == [one.complete for one in given[:-1]]


def test_an_object_is_there_from_its_first_key_and_fills() -> None:
    given = records(Item, ['{"', 'id": 1', ', "name": "A', "da", '", "tags": ["x"', "]", "}"])
    blank: Any = None
    assert [
        Parsed(Item(blank, blank), False, ("id", "name", "price", "tags")),
        Parsed(Item(1, "A"), False, ("price", "tags")),
        Parsed(Item(1, "Ada"), False, ("price", "tags")),
        Parsed(Item(1, "Ada", tags=["x"]), False, ("price",)),
        Parsed(Item(1, "Ada", tags=["x"]), False, ("price",)),
        Parsed(Item(1, "Ada", tags=["x"]), True),
    ] == given


def test_texts_grow_and_all_else_comes_whole() -> None:
    assert [None, None, Color.BLUE, Color.BLUE] == [
        one.color for one in values(Picture, '{"name": "', 'a", "color": "bl', 'ue"', ', "name2": 1}')
    ]


class Picture(msgspec.Struct):
    name: str
    color: Color | None = None


def test_the_value_is_the_same_object_as_it_grows_frozen_or_not() -> None:
    for type, key in ((Order, "theTitle"), (Point, "names"), (Part, "note"), (Movie, "name")):
        stage = GrowingValue(shape_of(type))
        first, *_ = stage.feed('{"')
        begun = '["' if key == "names" else '"'
        second, *_ = stage.feed(f'{key}": {begun}ab')
        assert first.value is second.value
        assert "ab" in str(second.value)


def test_which_of_several_objects_it_is_shows_once_its_tag_has_come() -> None:
    shapes = [one.shape for one in values(Holder, '{"shape": {"label": "L",', ' "type": "squ', 'are"', ', "side": 3', "}}")]
    assert [None, Square(None, "L"), Square(3.0, "L")] == [shapes[0], shapes[-2], shapes[-1]]  # type: ignore[arg-type]  # as it grows
    pets = [one.pet for one in values(Model, '{"pet": {"kind": "d', 'og", "name": "Re', 'x"}, "Title": "ab", "parts": []}')]
    assert ["Re", "Rex"] == [pet.name for pet in pets if pet is not None]


class Holder(msgspec.Struct):
    shape: Circle | Square | None = None


def test_a_value_with_a_post_init_is_not_asked_before_it_is_whole() -> None:
    assert [None, "", "a"] == [one.the_title for one in values(Order, '{"', 'theTitle": "', 'a", "items": []}')]
    read, error = mismatch(Order, '{"theTitle": "", "items": []}')
    assert read.endswith("}")
    assert "an order without a title" not in str(error)
    assert "an order without a title" == error.excerpt


def test_a_field_with_a_validator_of_its_own_comes_with_its_object() -> None:
    given = values(Model, '{"words": "a b', '", "Title": "ab", "parts": []', "}")
    assert [[], [], ["a", "b"]] == [one.words for one in given]


def test_a_model_whose_validator_sees_it_first_comes_whole() -> None:
    class Renamed(pydantic.BaseModel):
        n: int

        @pydantic.model_validator(mode="before")
        @classmethod
        def take(cls, value: Any) -> Any:
            return {"n": value["m"]}

    assert [Renamed.model_construct(n=3)] == values(Renamed, '{"m"', ": 3", "}")


def test_a_model_knows_which_fields_have_come() -> None:
    stage = GrowingValue(shape_of(Part))
    (one,) = stage.feed('{"n": 1,')
    assert {"n"} == one.value.model_fields_set


@pytest.mark.parametrize(
    ("type", "text", "read", "path", "expected"),
    [
        (Order, '{"theTitle": 3, "items": []}', '{"theTitle": 3,', "theTitle", "Expected `str`, got `int`"),
        (Order, '{"items": {', '{"items": {', "items", "Expected `array`, got `object`"),
        (Order, '{"items": [{"id": "', '{"items": [{"id": "', "items[0].id", "Expected `int`, got `str`"),
        (Order, '{"items": [{"id": 1}', '{"items": [{"id": 1}', "items[0]", "Object missing required field `name`"),
        (Order, '{"color": "green"', '{"color": "green"', "color", "a value of Color"),
        (Order, '{"shape": {"type": "oval"', '{"shape": {"type": "oval"', "shape.type", None),
        (dict[str, int], '{"secret": "', '{"secret": "', "[...]", "Expected `int`, got `str`"),
        (Model, '{"Title": "x"', '{"Title": "x"', "Title", None),
        (
            Model,
            '{"parts": [{"n": 1}, {"n": "one"',
            '{"parts": [{"n": 1}, {"n": "one"',
            "parts[1].n",
            "a value of int (int_parsing)",
        ),
        (Model, '{"parts": []}', '{"parts": []}', "Title", "a value of Model (missing)"),
        (int, '"', '"', "", "Expected `int`, got `str`"),
    ],
)
def test_another_type_is_an_error_as_soon_as_it_is_one(type: object, text: str, read: str, path: str, expected: str | None) -> None:
    at, error = mismatch(type, text + " ")
    assert read == at
    assert path == error.path
    assert expected in (None, error.expected)


def test_an_error_holds_what_had_come_and_its_message_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"theTitle": "ab", "items": [], "kind": "hidden"'
    _, error = mismatch(Order, text)
    assert "ab" == error.partial.the_title  # type: ignore[attr-defined]  # an Order
    assert "hidden" not in str(error)
    assert "hidden" in error.excerpt
    monkeypatch.setenv("STREAMKIT_SHOW_CONTENT", "1")
    assert "hidden" in str(mismatch(Order, text)[1])


def test_half_a_character_is_no_text_of_a_type() -> None:
    _, error = mismatch(list[Color], '["\ud83d"]')
    assert ("[0]", "text that UTF-8 can hold") == (error.path, error.expected)


@pytest.mark.parametrize(
    "before",
    ["", "Here it is: ", "```json\n", "as in [1], {so}: ", "{ or [", "[[x {\n"],
)
def test_text_around_the_value_is_passed_over(before: str) -> None:
    text = before + '{ "id": 1, "name": "a"}\n``` and {"more": 1}'
    for chunks in ([text], list(text)):
        assert Parsed(Item(1, "a"), True) == records(Item, chunks)[-1]


def test_strict_text_is_the_value_and_nothing_else() -> None:
    assert Parsed([1], True) == records(list[int], [" [1]", " \n"], strict=True)[-1]
    for text in ("so: [1]", "[1] so"):
        with pytest.raises(RemoteProtocolError, match="JSON"):
            records(list[int], [text], strict=True)


@pytest.mark.parametrize(
    ("chunks", "said", "partial"),
    [
        (['{"id": 1, "name": "Ad'], "the text ended, before the JSON value was complete", Item(1, "Ad")),
        (["no JSON"], "the text ended, without a JSON value of the type", None),
        (
            [TextDelta('{"id": 1'), Finish("length")],
            "its limit of tokens cut the answer, before the JSON value was complete",
            "blank",
        ),
        ([TextDelta('{"id": 1'), ErrorEvent("x")], "the answer ended in an error, before", "blank"),
    ],
)
def test_a_text_that_ends_before_the_value_says_so(chunks: list[str | Event], said: str, partial: object) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        records(Item, chunks)
    assert str(raised.value).startswith(said)
    blank: Any = None
    assert (Item(blank, blank) if partial == "blank" else partial) == raised.value.partial


def test_a_failed_stage_stays_failed() -> None:
    stage = GrowingValue(shape_of(list[int]))
    with pytest.raises(TypeMismatch) as first:
        stage.feed('[1, "')
    for again in (lambda: stage.feed("1"), stage.flush, stage.snapshot):
        with pytest.raises(TypeMismatch) as raised:
            again()
        assert first.value is raised.value


def test_of_events_the_text_of_the_first_answer_is_read() -> None:
    events: list[Event] = [
        Ping(),
        ReasoningDelta("[9]"),
        TextDelta("[1,"),
        TextDelta("[2]", choice=1),
        Finish(choice=1),
        TextDelta(" 3]", index=1),
        Usage(),
        Finish("length"),
    ]
    assert [[1], [1, 3]] == [one.value for one in records(list[int], events)]
    with pytest.raises(TypeError, match="text or events, got bytes"):
        records(int, [b"1"])  # type: ignore[list-item]  # on purpose


def test_of_a_key_that_comes_twice_the_last_value_stays() -> None:
    for text in ('{"id": 1, "name": "a", "name": "b", "tags": ["x"], "tags": ["y"], "id": 2}',):
        for chunks in ([text], list(text), [text[:30], text[30:]]):
            assert Item(2, "b", tags=["y"]) == records(Item, chunks)[-1].value


class Bare:
    pass


@pytest.mark.parametrize("type", [Bare, list[Bare], dict[str, Bare], Point | Item, Box[Bare]])
def test_a_type_that_no_json_has_is_refused_at_once(type: object) -> None:
    with pytest.raises(ConfigError, match="cannot be read from JSON"):
        shape_of(type)


any_order = st.builds(
    lambda title, items, shape, extra: {"theTitle": title, "items": items, "shape": shape, "extra": extra},
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.lists(st.fixed_dictionaries({"id": st.integers(0, 999), "name": st.text('ab\\"é\n', max_size=5)}), max_size=3),
    st.sampled_from([None, {"type": "circle", "radius": 1}, {"side": 2, "type": "square"}]),
    st.dictionaries(st.text("ab", max_size=2), st.lists(st.integers(0, 9) | st.text("xy", max_size=3), max_size=2), max_size=2),
)


@settings(max_examples=80)
@given(any_order, places, st.booleans())
def test_a_growing_value_grows_and_ends_as_the_whole(order: dict[str, object], at: list[int], ascii: bool) -> None:
    text = json.dumps(order, ensure_ascii=ascii)
    final = msgspec.json.decode(text, type=Order)
    chunks = cut_at(text, at)
    given = records(Order, chunks)
    assert Parsed(final, True) == given[-1]
    assert len(given) <= len(chunks)
    for one in given:
        value = one.value
        assert final.the_title.startswith(value.the_title or "")
        assert len(value.items or ()) <= len(final.items)
        for shown, meant in zip(value.items or (), final.items, strict=False):
            assert shown.id in (None, meant.id)
            assert meant.name.startswith(shown.name or "")
        assert value.shape is None or type(value.shape) is type(final.shape)


@settings(max_examples=40)
@given(any_order, st.integers(0, 400), places)
def test_a_value_saved_anywhere_and_taken_up_gives_the_same(order: dict[str, object], pause: int, at: list[int]) -> None:
    text = "so: " + json.dumps(order)
    pause = min(pause, len(text))
    rest = cut_at(text[pause:], at)
    shape = shape_of(Order)
    stage, other = GrowingValue(shape), GrowingValue(shape)
    for char in text[:pause]:
        list(stage.feed(char))
    saved = stage.snapshot()
    other.restore(json.loads(json.dumps(saved)))
    assert saved == other.snapshot()
    for chunk in rest:
        assert list(stage.feed(chunk)) == list(other.feed(chunk))


class Story(msgspec.Struct):
    title: str
    text: str


class Orders(msgspec.Struct):
    items: list[Item]


class Parts(pydantic.BaseModel):
    parts: list[Part]


def an_order(n: int) -> str:
    return json.dumps({"items": [{"id": at, "name": "Ada", "tags": ["x", "y"]} for at in range(n)]})


@pytest.mark.parametrize(
    ("type", "text"),
    [
        (Story, lambda n: json.dumps({"title": "a", "text": "words and more\n" * 2 * n})),
        (Orders, an_order),
        (Parts, lambda n: json.dumps({"parts": [{"n": 1, "note": "so"}] * n})),
        (dict[str, int], lambda n: json.dumps({f"key {at}": at for at in range(3 * n)})),
        (Any, an_order),
        (Item, lambda n: json.dumps({f"unknown {at}": "x" * 9 for at in range(n)} | {"id": 1, "name": ""})),
    ],
    ids=["one text", "many objects", "models", "keys", "anything", "unknown keys"],
)
def test_time_is_linear_in_the_text(type: object, text: Any) -> None:
    shape = shape_of(type)
    for chunk in (4, 10**9):

        def work(n: int, chunk: int = chunk) -> int:
            whole: str = text(n)
            stage = GrowingValue(shape)
            return steps(lambda: [stage.feed(whole[at : at + chunk]) for at in range(0, len(whole), chunk)])

        assert work(120) <= 2.3 * work(60)


def test_a_text_that_grows_is_not_copied_for_each_delta() -> None:
    stage = GrowingValue(shape_of(Story))
    (one,) = stage.feed('{"text": "' + "x" * 1_000_000)
    list(stage.feed("y"))
    tracemalloc.start()
    try:
        for _ in range(3):
            list(stage.feed("z"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert one.value.text.endswith("xyzzz")
    # A trace begins with the first reallocation, so the text itself is in it once; a copy would make that twice.
    assert peak < 1_500_000
