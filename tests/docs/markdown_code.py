"""The code of a Markdown page, taken out and run as its reader would run it.

    ```python    run; the blocks of one page share their names, `await` may stand at top level
    ```pycon     the same, checked as a doctest
    ```output    what the python block before it must have printed
    ```console   one command per line; each must be one that this repository has

Any other block (a picture, a fragment of a wire) is text.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import doctest
import inspect
import io
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$", re.MULTILINE | re.DOTALL
)


TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Block(NamedTuple):
    language: str
    line: int  # of its first line of code, from 1
    code: str


def blocks(text: str) -> list[Block]:
    found = []
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        code = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        found.append(Block(match["language"], text.count("\n", 0, match.start("body")) + 1, code))
    return found


def commands(block: Block) -> Iterator[str]:
    for line in block.code.splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.removeprefix("$ ").strip()


def run_page(path: Path) -> int:
    """Run a page's Python from top to bottom; the number of blocks that ran."""
    module = types.ModuleType(path.stem.replace("-", "_"))
    module.__file__ = str(path)
    names = vars(module)
    printed = ""
    count = 0
    with asyncio.Runner() as runner, importable(module):
        for block in blocks(path.read_text("utf-8")):
            if block.language == "python":
                printed = run_block(block, path, names, runner)
                count += 1
            elif block.language == "pycon":
                run_session(block, path, names)
                count += 1
            elif block.language == "output":
                assert block.code.strip() == printed.strip(), f"{path}:{block.line}: the block above prints something else"
    return count


@contextlib.contextmanager
def importable(module: types.ModuleType) -> Iterator[None]:
    """Frameworks look the names in annotations up in the module that a function says it is of."""
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


def run_block(block: Block, path: Path, names: dict[str, object], runner: asyncio.Runner) -> str:
    # Blank lines before the code make a traceback name the page's own line.
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, str(path), "exec", flags=TOP_LEVEL_AWAIT, dont_inherit=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if code.co_flags & inspect.CO_COROUTINE:
            # exec() adds this to the names; a function made of code needs it for a class.
            names.setdefault("__builtins__", builtins)
            runner.run(types.FunctionType(code, names)())
        else:
            exec(code, names)
    return out.getvalue()


def run_session(block: Block, path: Path, names: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(block.code, names, path.name, str(path), block.line - 1)
    check(test)
    names.update(test.globs)


def check(test: doctest.DocTest) -> int:
    """Run a doctest; the number of its examples."""
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(test, out=report.write, clear_globs=False)
    assert not result.failed, report.getvalue()
    return result.attempted
