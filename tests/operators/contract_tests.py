"""Which operators the tests hold to the contract, read from the tests themselves.

A test counts for an operator if it calls `check_operator` and names that operator: in its own lines, in its parameters, or in
what these name in turn in the same file. Calls that are meant to be refused do not count, nor do tests of some event loops only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent

# What a test names that does not run on all event loops.
ONE_LOOP = {"asyncio_only", "ASYNCIO_LOOPS"}


def held_to_the_contract(operators: set[str], files: list[Path]) -> dict[str, set[str]]:
    """Of these operators, those that some test checks: the names of the files by operator."""
    found: dict[str, set[str]] = {}
    for path in files:
        for name in _checked_in(path) & operators:
            found.setdefault(name, set()).add(path.name)
    return found


def files_of_tests() -> list[Path]:
    """All of them, but for those of the checks themselves, whose operators are broken on purpose."""
    return [path for path in sorted(TESTS.rglob("test_*.py")) if path.parent.name != "testing"]


def _checked_in(path: Path) -> set[str]:
    source = path.read_text(encoding="utf-8")
    if "check_operator(" not in source:
        return set()
    tree = ast.parse(source)
    homes = _named_in_module(tree)
    if "pytestmark" not in homes and "@pytest.mark.anyio" not in source:
        return set()
    operators = _imported(tree)
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and "check_operator" in (names := _names(node)) and not names & ONE_LOOP:
            found |= _reached(node, homes, operators)
    return found


def _reached(test: ast.AST, homes: dict[str, ast.AST], operators: dict[str, str]) -> set[str]:
    """The operators that a test names, itself or through what it names."""
    todo, seen, found = [test], set[str](), set[str]()
    while todo:
        for name in _names(todo.pop()):
            if name.startswith("sk."):
                found.add(name.removeprefix("sk."))
            elif name in operators:
                found.add(operators[name])
            elif name in homes and name not in seen:
                seen.add(name)
                todo.append(homes[name])
    return found


def _names(node: ast.AST) -> set[str]:
    """Plain names, and those of the package's root."""
    found: set[str] = set()
    for inner in _counting(node):
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "sk":
            found.add(f"sk.{inner.attr}")
    return found


def _counting(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but for arguments named `refuses`."""
    if isinstance(node, ast.keyword) and node.arg == "refuses":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _counting(child)


def _named_in_module(tree: ast.Module) -> dict[str, ast.AST]:
    """What the module defines, by name."""
    homes: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            homes[node.name] = node
        elif isinstance(node, ast.Assign):
            homes.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            homes[node.target.id] = node.value
    return homes


def _imported(tree: ast.Module) -> dict[str, str]:
    """What is imported from the modules of operators: the name there by the name here."""
    return {
        alias.asname or alias.name: alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streamkit.operators")
        for alias in node.names
    }
