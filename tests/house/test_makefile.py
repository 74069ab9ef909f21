"""The verbs of the Makefile, and the script that finds a Python for them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import ROOT

VERBS = ["help", "demo", "test", "check", "bench", "docs", "soak", "clean"]


def test_make_alone_lists_every_verb() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert VERBS == re.findall(r"^  make (\w+) +\S", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_plan_that_make_understands(verb: str) -> None:
    done = subprocess.run(["make", "-n", verb], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def find_python(folder: Path, **pythons: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only the given programs exist: each is a name and a shell line."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, line in pythons.items():
        program = bin_folder / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHON"} | {"PATH": str(bin_folder)}
    command = ["/bin/sh", str(ROOT / "tools" / "venv.sh"), str(folder / "made")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_no_python_at_all_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = find_python(tmp_path)
    assert 1 == done.returncode
    assert (
        "streamkit: needs Python 3.11 or newer, and found none; install one, or name it: make PYTHON=/path/to/python3\n"
        == done.stderr
    )


def test_a_python_without_venv_is_told_with_the_package_that_has_it(tmp_path: Path) -> None:
    done = find_python(tmp_path, python3_12='case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    assert 1 == done.returncode
    assert "found python3.12, but without the venv module" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_a_shim_for_a_python_that_is_not_installed_is_passed_over(tmp_path: Path) -> None:
    done = find_python(tmp_path, python3_13="exit 127", python3_11='case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    assert "found python3.11, but" in done.stderr


def test_an_environment_that_works_is_kept(tmp_path: Path) -> None:
    (tmp_path / "made" / "bin").mkdir(parents=True)
    (tmp_path / "made" / "bin" / "python").symlink_to(sys.executable)
    done = find_python(tmp_path)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
