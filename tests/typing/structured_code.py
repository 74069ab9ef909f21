"""Structured output as users write it, for the type checkers: see `user_code`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

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


async def a_union_is_the_types_of_its_assignment(answer: sk.Stream[sk.Event]) -> None:
    # A union is no class: what comes is Any until somebody says it, and pyrefly knows it by itself.
    cities: sk.Stream[Parsed[City | None]] = answer | parse(City | None)
    assert_type(cities, sk.Stream[Parsed[City | None]])


async def numbers_are_no_text() -> None:
    sk.stream([1]) | parse(City)  # type: ignore[operator]
