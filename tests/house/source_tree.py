"""The package as text: its modules and who imports whom, read from the source and never executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PACKAGE = "streamkit"


class Module(NamedTuple):
    """One file of the package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        """The room it stands in: the first name under the package, "" for the root itself."""
        return self.name.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


class Import(NamedTuple):
    """One module imports another; `at_load` unless it happens inside a function or for type checkers only."""

    importer: Module
    target: str
    line: int
    at_load: bool


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted((SRC / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text("utf-8"), str(path)))
    return found


@cache
def imports() -> tuple[Import, ...]:
    return tuple(one for module in modules().values() for one in _imports_of(module))


def _imports_of(module: Module) -> Iterator[Import]:
    lazy = {id(inner) for node in ast.walk(module.tree) if _is_lazy(node) for inner in ast.walk(node)}
    for node in ast.walk(module.tree):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module.path}:{node.lineno}: relative import"
            base = node.module or ""
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules() else base for alias in node.names]
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno if isinstance(node, ast.stmt) else 0, id(node) not in lazy)


def _is_lazy(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def inside(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")
