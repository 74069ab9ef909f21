"""JSON values in a text: what is one, what is passed over, where its end is seen, and what it may cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_of_stages import given_alike, outputs, segments_alike, snapshots_alike
from stage_runs import cut_at, places, steps

from streamkit.errors import ConfigError, RemoteProtocolError, TypeMismatch
from streamkit.stages.shapes import shape_of
from streamkit.stages.values_in_text import JsonValues

any_json = st.lists(
    st.sampled_from([*'{}[]",:\\ \n1tfn', '{"items":[', '{"a":1}', '"a"', '"items":', "[1,", "\\u", "true", "null", "-1.5e", "}]"]),
    max_size=24,
).map("".join)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc{[", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def fed(stage: JsonValues, *texts: str) -> list[list[object]]:
    return [list(stage.feed(text)) for text in texts]


def taken(stage: JsonValues, texts: Iterable[str]) -> tuple[list[object], RemoteProtocolError]:
    """What came before the error, and the error, which must come."""
    out: list[object] = []
    with pytest.raises(RemoteProtocolError) as raised:
        for text in texts:
            for value in stage.feed(text):
                out.append(value)
        out += stage.flush()
    return out, raised.value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Sure:\n```json\n{"a": [1, {}]}\n```\nand [2].', [{"a": [1, {}]}, [2]]),
        ('{"a":1}{"a":2}\n[3] , {"b":"}{"}', [{"a": 1}, {"a": 2}, [3], {"b": "}{"}]),
        ('see [note] or {this} and {"a": 1}', [{"a": 1}]),
        ('[see {"a": 1}', [{"a": 1}]),
        ("{{}", [{}]),
        ('{"a [1]\n{"b": 2}', [{"b": 2}]),
        ('["\\q[1]', [[1]]),
        ("[t[1]", [[1]]),
        ("[nul[]", [[]]),
        ("[1.[2]", [[2]]),
        ('no JSON, 12 or "text" is none here', []),
        (":-[ and then [", []),
    ],
)
def test_objects_and_arrays_are_found_among_other_text(text: str, found: list[object]) -> None:
    assert found == outputs(JsonValues(), [text])
    assert found == outputs(JsonValues(), text)


def test_what_stands_inside_of_something_that_breaks_is_lost() -> None:
    assert [[3]] == outputs(JsonValues(), ['[1, {"a": 2} or so] [3]'])


def test_a_value_is_given_at_its_last_character() -> None:
    assert [[], [{"a": 1}], [], [[2]]] == fed(JsonValues(), '{"a": 1', "} [2", "", "]")


def test_strict_text_is_values_of_every_kind_and_nothing_else() -> None:
    text = '{"a":1}\n"b" 12\ttrue[null]-3.5'
    assert [{"a": 1}, "b", 12, True, [None], -3.5] == outputs(JsonValues(strict=True), text)
    out, error = taken(JsonValues(strict=True), ["1 2 ", "x"])
    assert [1, 2] == out
    assert "a value was expected" in str(error)


def test_a_text_that_ends_inside_a_value_says_so_with_what_came() -> None:
    for options in ({}, {"strict": True}):
        out, error = taken(JsonValues(**options), ['[1] {"a": [1, "x'])  # type: ignore[arg-type]  # bools, by name
        assert [[1]] == out
        assert {"a": [1, "x"]} == error.partial
        assert "ended inside" in str(error)


def test_the_stage_stays_failed() -> None:
    stage = JsonValues(strict=True)
    with pytest.raises(RemoteProtocolError) as first:
        stage.feed("x")
    calls: list[Callable[[], object]] = [lambda: stage.feed("1"), stage.flush, stage.snapshot]
    for again in calls:
        with pytest.raises(RemoteProtocolError) as raised:
            again()
        assert first.value is raised.value


def test_an_input_that_failed_gives_no_value_that_is_open() -> None:
    stage = JsonValues(strict=True)
    assert [] == [*stage.feed("12"), *stage.abort()]


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("items.*", '{"n": 2, "items": [{"a": 1}, "b", 3, null, [4], true ], "more": []}', [{"a": 1}, "b", 3, None, [4], True]),
        ("*", "[1, 2] and [[3], 4]", [1, 2, [3], 4]),
        ("a.b.*", '{"b": [0], "a": {"c": [1], "b": [2]}} {"a": 1} {"a": {"b": null}}', [2]),
        ("items.*", '{"items": [1], "items": [2, 3]}', [1, 2, 3]),
        ("items.*", '{"x": {"items": [1]}}', []),
        ("*", '["a,b]", "c"]', ["a,b]", "c"]),
    ],
)
def test_items_of_an_array_come_one_by_one(path: str, text: str, found: list[object]) -> None:
    assert found == outputs(JsonValues(path), [text])
    assert found == outputs(JsonValues(path), text)


def test_an_item_is_given_at_its_last_character() -> None:
    stage = JsonValues("items.*")
    assert [[], [{"a": 1}], [], ["x"], [], [2], []] == fed(stage, '{"items": [{"a": 1', "}", ', "x', '"', ", 2", " ", "]}")


def test_an_array_that_breaks_behind_items_that_were_given_is_an_error() -> None:
    out, error = taken(JsonValues("*"), ["[1, 2, or so"])
    assert [1, 2] == out
    assert "a value was expected" in str(error)
    assert [3] == outputs(JsonValues("*"), ["[or so] [3]"])


def test_an_array_that_is_cut_off_is_an_error_behind_its_items() -> None:
    out, error = taken(JsonValues("*"), ['[1, "a'])
    assert [1] == out
    assert "ended inside" in str(error)


def test_something_else_at_the_path_is_an_error() -> None:
    _, error = taken(JsonValues("items.*"), ['{"items": {"a": 1}}'])
    assert "at items a JSON value has no array" == str(error)


class City(msgspec.Struct):
    name: str
    people: int = 0


def test_values_of_a_type_are_made_and_checked() -> None:
    cities = JsonValues("items.*", shape=shape_of(City))
    assert [City("Rome", 3), City("Oslo")] == outputs(cities, '{"items": [{"name": "Rome", "people": 3}, {"name": "Oslo"}]}')
    out, error = taken(JsonValues("items.*", shape=shape_of(City)), ['{"items": [{"name": "Rome"}, {"name": 2}]}'])
    assert [City("Rome")] == out
    assert isinstance(error, TypeMismatch)
    assert ("items[1].name", "Expected `str`, got `int`") == (error.path, error.expected)


def test_a_value_above_its_bound_is_an_error_wherever_it_is_cut() -> None:
    text = '{"a": 1} {"b": "' + "x" * 30 + '"}'
    for chunks in ([text], list(text)):
        out, error = taken(JsonValues(max_chars=20), chunks)
        assert [{"a": 1}] == out
        assert "max_chars=20" in str(error)
    _, deep = taken(JsonValues(max_depth=3), ["[[[[1]]]]"])
    assert "max_depth=3" in str(deep)


def test_items_that_were_given_do_not_count() -> None:
    stage = JsonValues("*", max_chars=40)
    text = json.dumps([{"n": n, "text": "x" * 10} for n in range(200)])
    assert 200 == len(outputs(stage, [text])) == len(outputs(JsonValues("*", max_chars=40), text))


def test_an_endless_array_is_not_kept() -> None:
    stage = JsonValues("*")
    list(stage.feed("["))
    for n in range(300):
        assert [{"n": n}] == list(stage.feed(f'{{"n": {n}}}, '))
    assert [(0, 0, [])] == stage.snapshot()["reader"]["root"]  # type: ignore[index]  # plain values: an empty array


@pytest.mark.parametrize("path", ["items", "", "*.a", "a.*.*", "a..*", ".*"])
def test_a_path_ends_in_its_only_star(path: str) -> None:
    with pytest.raises(ConfigError, match="star at the end"):
        JsonValues(path)


def test_only_text_is_taken() -> None:
    with pytest.raises(TypeError, match="takes text, got bytes"):
        JsonValues().feed(b"{}")  # type: ignore[arg-type]  # on purpose


@given(st.lists(values.filter(lambda value: isinstance(value, dict | list))), places)
def test_values_among_prose_are_what_they_were(written: list[object], at: list[int]) -> None:
    text = "so: ".join(["", *(json.dumps(value, ensure_ascii=False) for value in written)])
    assert written == outputs(JsonValues(), cut_at(text, at))


@settings(max_examples=60)
@given(any_json, places, st.sampled_from([(None, False), (None, True), ("*", False), ("items.*", False)]))
def test_any_text_gives_the_same_for_any_cut_and_after_a_pause(text: str, at: list[int], options: tuple[str | None, bool]) -> None:
    path, strict = options

    def make() -> JsonValues:
        return JsonValues(path, strict=strict)

    segments_alike(make, text, [list(text), cut_at(text, at)])
    given_alike(make, text)
    snapshots_alike(make, text)


def many_values(count: int) -> str:
    return '{"a": [1, "two"]} and [see] ' * count


@pytest.mark.parametrize(
    "make",
    [
        lambda n: (JsonValues(), [many_values(n)]),
        lambda n: (JsonValues(), many_values(n)),
        lambda n: (JsonValues(), ["{" * 20 * n]),
        lambda n: (JsonValues("*"), [json.dumps(["x" * 5] * 3 * n)]),
        lambda n: (JsonValues(strict=True), ["1 " * 10 * n]),
    ],
    ids=["one chunk", "characters", "brackets", "items", "numbers"],
)
def test_time_is_linear_in_the_text(make: object) -> None:
    def taken_for(n: int) -> int:
        stage, chunks = make(n)  # type: ignore[operator]  # one of the lambdas above
        return steps(lambda: outputs(stage, chunks))

    assert taken_for(160) <= 2.3 * taken_for(80)
