"""The harness itself: packages in the versions that were asked for, and a script's failure is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from node_clients import OLDEST_NODE, installed_packages, node_program, run_node


def test_the_packages_have_exactly_the_versions_that_package_json_names() -> None:
    told = run_node("versions.mjs")
    wanted = {
        name: version.rpartition("@")[2] if version.startswith("npm:") else version for name, version in told["wanted"].items()
    }
    assert wanted == told["found"]
    assert {"ai", "ai6", "openai"} <= set(wanted)


def test_node_is_new_enough_for_all_of_them() -> None:
    told = subprocess.run([node_program(), "--version"], capture_output=True, text=True, check=True).stdout
    assert OLDEST_NODE <= tuple(int(part) for part in told.strip().lstrip("v").split("."))


def test_no_lock_file_and_no_packages_are_beside_the_tests() -> None:
    assert not installed_packages().is_relative_to(Path(__file__).parent)
    assert [] == [name for name in ("node_modules", "package-lock.json") if (Path(__file__).parent / name).exists()]


def test_a_script_gives_its_last_line() -> None:
    assert {"how": "say", "rest": ["1", "ü\u2028"]} == run_node("echo.mjs", "say", 1, "ü\u2028")


@pytest.mark.parametrize(("how", "told"), [("fail", "told on stderr"), ("words", "said no JSON"), ("hang", "not done within 1 s")])
def test_a_script_that_fails_is_a_failure_that_says_why(how: str, told: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=told):
        run_node("echo.mjs", how, timeout=1 if how == "hang" else 30)
