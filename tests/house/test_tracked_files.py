"""What must never stand in a tracked file: somebody's machine, and the index it installs from."""

from __future__ import annotations

import re
import subprocess

import pytest
from source_tree import ROOT

# Written in pieces, or this file would find itself.
PATTERN = re.compile(
    r"(?<![\w.$/}])/(?:work|home|root|Users)/[\w.]"
    + r"|[\w.-]*(?:py" + r"pi|pythonhosted)\.org/simple|files\.python" + r"hosted\.org"
    + r"|index-" + r"url|find-" + r"links"
    + r"|bash_" + r"jobs"
)  # fmt: skip


def tracked() -> list[str]:
    """The files that git knows; without git (an unpacked archive) all that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [name for name in listed.stdout.split("\0") if name]
    return [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*")
        if path.is_file() and not any(p.startswith((".venv", ".node")) for p in path.relative_to(ROOT).parts)
    ]


def test_no_tracked_file_names_a_machine_or_a_package_host() -> None:
    found = []
    for name in tracked():
        path = ROOT / name
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            found += [f"{name}: {match.group()}" for match in PATTERN.finditer(text)]
    assert [] == found


@pytest.mark.parametrize("text", ["see /wor" + "k/main", '"/hom' + 'e/me/x"', "https://py" + "pi.org/simple"])
def test_the_pattern_finds_what_it_is_for(text: str) -> None:
    assert PATTERN.search(text)


@pytest.mark.parametrize("text", ["https://host.example/home/page", "a/home/b", "$HOME/root", "/v1/chat/completions"])
def test_the_pattern_lets_ordinary_text_through(text: str) -> None:
    assert not PATTERN.search(text)


def test_nothing_that_was_made_is_tracked() -> None:
    assert [] == [name for name in tracked() if re.search(r"(^|/)(__pycache__|\.venv|dist|build|_build|results)/|\.pyc$", name)]
