"""Every block of code in the README and the documentation does what the page says."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from markdown_code import TOP_LEVEL_AWAIT, Block, blocks, commands, run_page

from streamkit.cli.arguments import parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if "_build" not in path.parts
)
WITH_CODE = [page for page in PAGES if {"python", "pycon"} & {block.language for block in blocks(page.read_text("utf-8"))}]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
VERBS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if re.search(r"^ *```(python|pycon)", page.read_text("utf-8"), re.MULTILINE)], ids=of
)
def test_the_code_of_a_page_runs(page: Path) -> None:
    assert run_page(page) >= 1


# What code of ours imports only when it is used, and the extra that has it; other packages are named as their extras are.
BEHIND = {"streamkit.sinks.grpc": "grpc", "streamkit.clients.grpc_client": "grpc", "streamkit.clients.websocket": "websockets"}
EXTRAS = set(PYPROJECT["project"]["optional-dependencies"])


def needed_extras(text: str) -> set[str]:
    found = set()
    for block in blocks(text):
        if block.language == "python":
            for node in ast.walk(compile(block.code, "page", "exec", flags=ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT)):
                modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for module in modules:
                    found |= {extra for name, extra in BEHIND.items() if module == name or module.startswith(f"{name}.")}
                    found |= {module.split(".")[0]} & EXTRAS
    return found


@pytest.mark.parametrize("page", [page for page in WITH_CODE if page.is_relative_to(ROOT / "docs")], ids=of)
def test_a_page_says_what_must_be_installed_for_its_code(page: Path) -> None:
    text = page.read_text("utf-8")
    named = {extra for found in re.findall(r"pip install 'streamkit-ai\[([\w,-]+)\]'", text) for extra in found.split(",")}
    assert set() == needed_extras(text) - named


def test_an_extra_is_needed_by_an_import_of_its_package_or_of_what_stands_on_it() -> None:
    text = "```python\nimport json\nimport httpx2\nfrom streamkit.clients.grpc_client import Stop\nfrom fastapi.x import X\n```\n"
    assert {"httpx2", "grpc", "fastapi"} == needed_extras(text)


def test_the_index_links_each_page_by_its_title() -> None:
    docs = ROOT / "docs"
    linked = re.findall(r"\[([^]]+)\]\(([\w/-]+\.md)\)", (docs / "index.md").read_text("utf-8"))
    pages = [page for page in PAGES if page.is_relative_to(docs) and page.parent.name not in ("docs", "operators", "design")]
    listed = {of(page): page.read_text("utf-8").split("\n")[0].removeprefix("# ") for page in pages}
    listed |= {"docs/reference/operators/index.md": "Operators", "docs/design/README.md": "Decisions"}
    assert listed == {f"docs/{path}": title for title, path in linked}


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "console":
            for command in commands(block):
                assert is_known(command), f"{of(page)}:{block.line}: {command}"


def is_known(command: str) -> bool:
    words = shlex.split(command)
    match words:
        case ["make", *rest]:
            return bool(rest) and all(word in VERBS or re.fullmatch(r"[A-Z]+=.*", word) for word in rest)
        case ["pip", "install", what]:
            return is_ours(what)
        case ["python", "-m", "streamkit", *rest] | ["streamkit-ai", *rest]:
            return bool(parser().parse_args(rest))
        case ["python", script, *_]:
            return (ROOT / script).is_file()
        case ["curl", *options, url]:
            flags = " ".join(option.split(":")[0] for option in options if not option.startswith("{"))
            local = re.fullmatch(r"http://(127\.0\.0\.1|localhost):\d+/\S*", url)
            return local is not None and re.fullmatch(r"(-N|-i|-d|-X POST|-H [\w-]+| )*", flags) is not None
        case ["python", "-m", "build", *_]:
            return True
        case _:
            return False


def is_ours(what: str) -> bool:
    """A distribution of ours with extras that exist, or a wheel that was built."""
    match = re.fullmatch(r"streamkit-ai(?:\[([\w,-]+)\])?|dist/streamkit_ai-[\w.*-]+\.whl", what)
    extras = set(filter(None, (match[1] or "").split(","))) if match else {"no such distribution"}
    return extras <= set(PYPROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("command", ["make world", "pip install streamkit", "pip install 'streamkit-ai[nope]'", "rm -rf /", "make"])
def test_a_command_that_does_not_exist_is_told(command: str) -> None:
    assert not is_known(command)


def test_the_readme_begins_with_the_two_commands() -> None:
    console = [
        command
        for block in blocks((ROOT / "README.md").read_text("utf-8"))
        if block.language == "console"
        for command in commands(block)
    ]
    assert ["make demo", "make test"] == [command for command in console if command.startswith("make")][:2]


def test_a_block_sees_the_names_of_the_blocks_above_it_and_may_await(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport asyncio\nx = await asyncio.sleep(0, 41)\n```\n\n```python\nprint(x + 1)\n```\n\n```output\n42\n```\n"
    )
    assert 2 == run_page(page)


def test_output_that_differs_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```output\n2\n```\n")
    with pytest.raises(AssertionError, match="something else"):
        run_page(page)


def test_an_error_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(page)
    assert 4 == caught.traceback[-1].lineno + 1


def test_a_session_is_checked(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```pycon\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(AssertionError, match="Expected"):
        run_page(page)


def test_blocks_know_their_language_and_line() -> None:
    text = "a\n\n```python\nx = 1\n```\n\n- item\n\n  ```text\n  y\n  ```\n"
    assert [Block("python", 4, "x = 1\n"), Block("text", 10, "y\n")] == blocks(text)
