"""The house stands as it was drawn: imports one way, a light root, names that mean one thing, everything documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from types import UnionType

import pytest
from exported import EXPORTED
from source_tree import PACKAGE, SRC, Module, imports, inside, modules

import streamkit

# A part imports only parts before it.
ORDER = (
    "errors", "extras", "events", "wire", "dialects", "stages", "flow", "operators", "clients", "hub", "sinks",
    "performance", "integrations", "ui", "testing", "cli", "__main__",
)  # fmt: skip

# What `import streamkit` may load besides the standard library: the three dependencies, and theirs.
LIGHT = {"streamkit", "anyio", "msgspec", "typing_extensions", "idna", "sniffio", "exceptiongroup"}

NAMED_AFTER_NOTHING = {"core", "util", "utils", "common", "base", "helper", "helpers", "misc", "shared", "lib", "tools"}


def test_every_part_has_its_place_in_the_order() -> None:
    assert {module.part for module in modules().values()} - {""} <= set(ORDER)


def test_a_part_imports_only_parts_that_stand_above_it() -> None:
    wrong = [
        f"{one.importer.path.relative_to(SRC)}:{one.line} imports {one.target}"
        for one in imports()
        if one.importer.part and inside(one.target) and one.target != PACKAGE and rank(one.target) > ORDER.index(one.importer.part)
    ]
    assert [] == wrong


def rank(target: str) -> int:
    return ORDER.index(target.split(".")[1])


def test_nobody_inside_imports_the_package_root() -> None:
    assert [] == [f"{one.importer.path.relative_to(SRC)}:{one.line}" for one in imports() if one.target == PACKAGE]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if one.at_load and one.target in graph and one.target != one.importer.name:
            graph[one.importer.name].add(one.target)
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")
    assert set(graph) == set(order)


EVERYTHING = "import streamkit; [getattr(streamkit, name) for name in streamkit.__all__]"


@pytest.mark.parametrize("code", ["import streamkit", EVERYTHING])
def test_importing_streamkit_loads_no_http_client_and_no_sdk(code: str) -> None:
    packages = {name.partition(".")[0] for name in loaded_by(code)}
    foreign = {name for name in packages if not {name, name.lstrip("_")} & sys.stdlib_module_names}
    assert "streamkit" in foreign
    assert set() == foreign - LIGHT


def test_the_root_reaches_neither_the_test_kit_nor_the_command_line() -> None:
    parts = {name.split(".")[1] for name in loaded_by(EVERYTHING) if name.startswith("streamkit.")}
    assert "flow" in parts
    assert set() == parts & {"testing", "cli", "integrations", "ui"}


def loaded_by(code: str) -> list[str]:
    """What the code loads in a new interpreter, besides what that has loaded already (site, .pth files)."""
    script = f"import sys, json; before = set(sys.modules); {code}; print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    names: list[str] = json.loads(done.stdout)
    return names


@pytest.mark.parametrize("name", [name for name in modules() if "." in name and not name.endswith("__main__")])
def test_a_module_shares_its_dotted_path_with_nothing_else(name: str) -> None:
    module = importlib.import_module(name)
    parent, _, last = name.rpartition(".")
    assert module is getattr(sys.modules[parent], last)


@pytest.mark.parametrize("module", modules().values(), ids=lambda module: module.name)
def test_no_file_is_named_after_nothing(module: Module) -> None:
    assert module.path.stem.lstrip("_") not in NAMED_AFTER_NOTHING
    assert module.path.parent.name not in NAMED_AFTER_NOTHING


def test_the_root_exports_exactly_the_pinned_names() -> None:
    assert sorted(EXPORTED) == sorted(streamkit.__all__)


def test_no_exported_name_is_also_a_module() -> None:
    assert set() == set(streamkit.__all__) & {module.part for module in modules().values()}


def test_a_type_checker_sees_the_root_as_it_runs() -> None:
    """The root loads its names late; what it tells a type checker must be the same names from the same modules."""
    told = {
        str(alias.asname): node.module
        for node in ast.walk(modules()[PACKAGE].tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and inside(node.module)
        for alias in node.names
    }
    assert set(streamkit.__all__) == set(told)
    for name, module in told.items():
        assert getattr(streamkit, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", modules().values(), ids=lambda module: module.name)
def test_every_public_function_and_class_is_documented(module: Module) -> None:
    defined = [node for node in module.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    documented = {node.name for node in defined if ast.get_docstring(node)}
    public = {node.name for node in defined if not node.name.startswith("_")}
    assert set() == public - documented


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_method_of_an_exported_class_is_documented(name: str) -> None:
    value = getattr(streamkit, name)
    if not inspect.isclass(value):
        assert isinstance(value, UnionType) or inspect.getdoc(value)
        return
    methods = {key: member for key, member in vars(value).items() if not key.startswith("_") and is_code(member)}
    assert [] == [f"{name}.{key}" for key in methods if not inspect.getdoc(getattr(value, key))]


def is_code(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)


@pytest.mark.parametrize("module", modules().values(), ids=lambda module: module.name)
def test_every_module_says_what_it_knows(module: Module) -> None:
    if module.tree.body:  # an empty __init__ says nothing and needs to say nothing
        assert ast.get_docstring(module.tree)
        assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in module.tree.body)
