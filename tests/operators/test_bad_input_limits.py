"""LIM-09: numbers that cannot work are refused at the call, by the name of the parameter, by every operator there is.

A new operator is found by itself. If it needs arguments, say them in NEEDED; if nought or no end makes sense for a
number of its own, say so in NOUGHT_IS_FINE or NO_END_IS_FINE.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamkit as sk
import streamkit.operators
from streamkit.flow.backoff import RetryBudget
from streamkit.flow.breaker import CircuitBreaker
from streamkit.flow.rates import RateLimiter


class NullSink:
    """A sink that takes everything."""

    async def send(self, batch: list[Any], /) -> None: ...
    async def aclose(self, error: BaseException | None, /) -> None: ...


def tool() -> str:
    """What a model may call."""
    return ""


async def slow(item: str) -> str:
    """What an operator may call."""
    return item


# What an operator cannot be called without, by the names of its parameters; and what else makes a number count.
NEEDED: dict[str, Callable[[], dict[str, Any]]] = {
    "RateLimiter": lambda: {"requests_per_minute": 60},
    "also_to": lambda: {"sink": NullSink()},
    "batch": lambda: {"size": 3, "weight": len, "max_weight": 9},
    "buffer": lambda: {"size": 3},
    "chunks": lambda: {"min_chars": 3},
    "combine_latest": lambda: {"streams": (sk.stream([1]), sk.stream([2]))},
    "continue_on_cut": lambda: {"make": lambda message: None},
    "debounce": lambda: {"seconds": 1},
    "delay": lambda: {"seconds": 1},
    "heartbeat": lambda: {"seconds": 1},
    "hedge": lambda: {"streams": (sk.stream([1]), sk.stream([2])), "after": 1},
    "limit_bytes": lambda: {"most": 3},
    "map": lambda: {"fn": slow},
    "merge": lambda: {"streams": (sk.stream([1]),)},
    "pace": lambda: {"rate": 3},
    "parse": lambda: {"of": dict},
    "rate_limit": lambda: {"limiter": RateLimiter(requests_per_minute=60)},
    "redact": lambda: {"patterns": ("email",)},
    "replace": lambda: {"what": "a", "by": "b"},
    "run_tools": lambda: {"tools": [tool]},
    "sample": lambda: {"seconds": 1},
    "share": lambda: {"source": sk.stream([1])},
    "skip": lambda: {"count": 3},
    "split_tags": lambda: {"tags": ("b",)},
    "take": lambda: {"count": 3},
    "tee": lambda: {"source": sk.stream([1]), "n": 2},
    "throttle": lambda: {"seconds": 1},
    "timeout": lambda: {"idle": 1},
    "window": lambda: {"size": 3},
}

# Numbers for which 0 means something: nothing of it, or no wait.
NOUGHT_IS_FINE = {
    "RetryBudget.min_per_second",
    "RetryBudget.ratio",
    "continue_on_cut.overlap",
    "enumerate.start",
    "limit_bytes.most",
    "rate_limit.cost",
    "rate_limit.max_wait",
    "retry.backoff",
    "retry.max_backoff",
    "retry.max_retry_after",
    "share.replay",
    "skip.count",
    "take.count",
    "texts.choice",
}

# Times that may be without end: a limit that is never reached.
NO_END_IS_FINE = {"hedge.after", "progress.every", "run_tools.timeout"} | {
    f"timeout.{name}" for name in ("first", "idle", "total", "wire")
}

# Numbers that may be less than 0.
ANY_NUMBER = {"enumerate.start"}


def constructors() -> dict[str, Callable[..., object]]:
    """All operators by their names, and what they are given that has numbers of its own."""
    found: dict[str, Callable[..., object]] = {
        "RetryBudget": RetryBudget,
        "CircuitBreaker": CircuitBreaker,
        "RateLimiter": RateLimiter,
    }
    for module in pkgutil.iter_modules(streamkit.operators.__path__):
        home = importlib.import_module(f"streamkit.operators.{module.name}")
        for name in getattr(home, "__all__", ()):
            if inspect.isfunction(getattr(home, name)):
                found[name] = getattr(home, name)
    return found


CONSTRUCTORS = constructors()


def numbers() -> list[tuple[str, str, bool]]:
    """Each parameter that takes a number: the operator, its name, and whether it counts in whole ones."""
    out: list[tuple[str, str, bool]] = []
    for name, make in sorted(CONSTRUCTORS.items()):
        for parameter in inspect.signature(make).parameters.values():
            kinds = {kind.strip() for kind in str(parameter.annotation).split("|")}
            if kinds & {"int", "float"} and parameter.kind is not parameter.VAR_POSITIONAL:
                out.append((name, parameter.name, "float" not in kinds))
    return out


def called_with(name: str, parameter: str, value: object) -> object:
    """The operator with one value of ours, and what it needs besides."""
    make = CONSTRUCTORS[name]
    given = NEEDED.get(name, dict[str, Any])() | {parameter: value}
    bound = inspect.signature(make).bind_partial()
    bound.arguments.update({name: given[name] for name in inspect.signature(make).parameters if name in given})
    return make(*bound.args, **bound.kwargs)


def nonsense(name: str, parameter: str, whole: bool) -> st.SearchStrategy[object]:
    """Values that must be refused."""
    where = f"{name}.{parameter}"
    values: list[object] = [float("nan"), float("-inf"), "3", True, [], b"1"]
    if whole:
        values += [float("inf"), 2.5]
    elif where not in NO_END_IS_FINE:
        values.append(float("inf"))
    if where not in NOUGHT_IS_FINE:
        values.append(0)
    if where in ANY_NUMBER:
        return st.sampled_from(values)
    return st.one_of(st.sampled_from(values), st.integers(max_value=-1), st.floats(max_value=-1e-300, allow_nan=False))


def test_every_operator_can_be_called_with_numbers_that_work() -> None:
    for name, parameter, whole in numbers():
        assert called_with(name, parameter, 9 if whole else 1.5) is not None
    assert 40 < len(numbers())


@pytest.mark.parametrize(("name", "parameter", "whole"), numbers(), ids=lambda value: str(value))
@given(data=st.data())
@settings(max_examples=20)
def test_nonsense_is_refused_at_the_call_by_the_name_of_the_parameter(
    name: str, parameter: str, whole: bool, data: st.DataObject
) -> None:
    value = data.draw(nonsense(name, parameter, whole))
    with pytest.raises((TypeError, sk.ConfigError)) as caught:
        called_with(name, parameter, value)
    assert re.search(rf"\b{parameter}\b", str(caught.value))


@pytest.mark.parametrize("where", sorted(NOUGHT_IS_FINE))
def test_nought_is_taken_where_it_means_something(where: str) -> None:
    name, parameter = where.split(".")
    assert called_with(name, parameter, 0) is not None


@pytest.mark.parametrize("where", sorted(NO_END_IS_FINE))
def test_no_end_is_taken_where_it_means_something(where: str) -> None:
    name, parameter = where.split(".")
    assert called_with(name, parameter, float("inf")) is not None


def test_the_tables_name_what_there_is() -> None:
    known = {f"{name}.{parameter}" for name, parameter, _ in numbers()}
    assert set() == (NOUGHT_IS_FINE | NO_END_IS_FINE | ANY_NUMBER) - known
    assert set() == set(NEEDED) - set(CONSTRUCTORS)
