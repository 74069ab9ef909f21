"""Every example in a docstring of the package gives what it shows."""

from __future__ import annotations

import asyncio
import builtins
import doctest
import importlib
import pkgutil
from collections.abc import Coroutine
from typing import TypeVar

import pytest
from markdown_code import check

import streamkit

T = TypeVar("T")


def run(coroutine: Coroutine[object, object, T]) -> T:
    """What the examples call `run`: to the end, in an event loop of its own."""
    return asyncio.run(coroutine)


def module_names() -> list[str]:
    return [
        "streamkit",
        *(found.name for found in pkgutil.walk_packages(streamkit.__path__, "streamkit.") if not found.name.endswith("__main__")),
    ]


def examples() -> list[doctest.DocTest]:
    """All of them, each with `run`, the names of `sk`, and those of its own module."""
    # `map` and `filter` are the builtins in an example, unless its module has its own.
    offered = {name: getattr(streamkit, name) for name in streamkit.__all__ if not hasattr(builtins, name)}
    found: list[doctest.DocTest] = []
    for name in module_names():
        module = importlib.import_module(name)
        names = {"run": run, "sk": streamkit, **offered, **vars(module)}
        found += [test for test in doctest.DocTestFinder(recurse=True).find(module, name, globs=names) if test.examples]
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_an_example_in_a_docstring_gives_what_it_shows(example: doctest.DocTest) -> None:
    assert check(example) >= 1


def test_the_examples_are_found() -> None:
    assert len(examples()) > 50
