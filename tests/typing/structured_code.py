"""Structured output as users write it, for the type checkers: see `user_code`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

import streamkit as sk
from streamkit.operators.structured import json_values, parse
from streamkit.stages.growing import Parsed


@dataclass
class City:
    name: str


async def a_class_is_inferred() -> None:
    assert_type(sk.stream(["{}"]) | parse(City), sk.Stream[Parsed[City]])
    assert_type(sk.stream(["{}"]) | parse(list[City]), sk.Stream[Parsed[list[City]]])
    assert_type(sk.stream(["{}"]) | json_values("items.*", of=City), sk.Stream[City])
    assert_type(sk.stream(["{}"]) | json_values(), sk.Stream[object])


async def events_are_taken_too(answer: sk.Stream[sk.Event]) -> None:
    async with answer | parse(City) as cities:
        async for one in cities:
            assert_type(one.value, City)
            assert_type(one.complete, bool)


async def what_no_checker_knows_is_any(answer: sk.Stream[sk.Event]) -> None:
    assert_type(answer | parse(City | None), sk.Stream[Parsed[Any]])


async def numbers_are_no_text() -> None:
    sk.stream([1]) | parse(City)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
