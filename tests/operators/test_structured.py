"""json_values and parse in streams: the contract, errors in their place, values that stay when the source fails."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import streamkit as sk
from streamkit.errors import ConfigError, RemoteProtocolError, TypeMismatch
from streamkit.operators.structured import json_values, parse
from streamkit.stages.growing import Parsed
from streamkit.stages.stage import Stage
from streamkit.testing import check_operator

pytestmark = pytest.mark.anyio


class City(msgspec.Struct):
    name: str
    people: int = 0


def shown(one: Parsed[Any]) -> tuple[str, bool]:
    return str(one.value), one.complete


async def test_json_values_holds_the_contract_of_operators() -> None:
    report = await check_operator(
        json_values(),
        items=['{"a": 1}', "so [2] ", "[3]"],
        expected=[{"a": 1}, [2], [3]],
        ahead=0,
        refuses=[
            lambda: json_values("items"),
            lambda: json_values(3),  # type: ignore[call-overload]  # on purpose
            lambda: json_values(max_chars=0),
            lambda: json_values(max_depth=True),
            lambda: json_values(of=object()),
        ],
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)
    assert 60 <= report.cases


async def test_items_hold_the_contract_of_operators() -> None:
    report = await check_operator(json_values("*", strict=True, of=int), items=["[1]", "[2, 3]", "[4]"], expected=[1, 2, 3, 4])
    assert 60 <= report.cases


class WithOslo(Stage[str, str]):
    """Text with a value behind it: `parse` refuses a text without one, and the check ends its source before its first item."""

    state = ()

    def feed(self, item: str) -> tuple[str, ...]:
        return (item,)

    def flush(self) -> tuple[str, ...]:
        return ('{"name": "Oslo"}',)


async def test_parse_holds_the_contract_of_operators() -> None:
    report = await check_operator(
        sk.stage(WithOslo) | parse(City) | sk.map(shown),
        items=['{"name": "Rome"}', " as", " asked"],
        expected=[("City(name='Rome', people=0)", True)],
        refuses=[
            lambda: parse(object()),
            lambda: parse(City, max_chars=0),
            lambda: parse(City, max_depth=math.nan),  # type: ignore[call-overload]  # on purpose
        ],
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
async def test_an_answer_is_read_as_it_comes(fused: bool) -> None:
    events: list[sk.Event] = [
        sk.Start(),
        sk.TextDelta('```json\n{"name": "Ro'),
        sk.TextDelta('me", "peo'),
        sk.TextDelta('ple": 3}\n```'),
        sk.Finish(),
    ]
    seen: list[tuple[str, bool]] = []
    async with (sk.stream(events) | parse(City)).open(fused=fused) as values:
        async for one in values:
            seen.append(shown(one))
    assert [
        ("City(name='Ro', people=0)", False),
        ("City(name='Rome', people=0)", False),
        ("City(name='Rome', people=3)", True),
    ] == seen


async def test_a_source_that_fails_keeps_its_error_and_the_last_value_stays() -> None:
    async def broken() -> AsyncIterator[str]:
        yield '[{"name": "Ro'
        raise OSError("the line is down")

    values: list[Parsed[list[City]]] = []
    with pytest.raises(OSError, match="the line is down"):
        async with sk.stream(broken()) | parse(list[City]) as parsed:
            async for one in parsed:
                values.append(one)
    assert [Parsed([City("Ro")], False)] == values


async def test_values_before_an_error_come_before_it() -> None:
    seen: list[object] = []
    with pytest.raises(TypeMismatch) as raised:
        async with sk.stream(['{"items": [{"name": "Rome"}, {"name": 3}]}']) | json_values("items.*", of=City) as cities:
            async for city in cities:
                seen.append(city)
    assert [City("Rome")] == seen
    assert "items[1].name" == raised.value.path


async def test_a_value_that_is_cut_off_is_an_error_with_what_came() -> None:
    cut: list[sk.Event] = [sk.TextDelta('{"name": "Ro'), sk.Finish("length")]
    with pytest.raises(RemoteProtocolError, match="its limit of tokens cut the answer") as raised:
        await (sk.stream(cut) | parse(City)).collect()
    assert City("Ro") == raised.value.partial


async def test_each_run_reads_anew() -> None:
    stream = sk.stream(lambda: iter(['{"name": "Rome"}'])) | parse(City)
    first, second = await stream.collect(), await stream.collect()
    assert first == second
    assert first[0].value is not second[0].value


async def test_a_type_without_json_is_refused_at_the_call() -> None:
    class Bare:
        """Nothing that JSON could fill."""

    for call in (lambda: parse(Bare), lambda: json_values(of=Bare)):
        with pytest.raises(ConfigError, match="Bare cannot be read from JSON"):
            call()
