"""ARCHITECTURE.md names every module of the tree, and no other."""

from __future__ import annotations

from module_map import module_map, written


def test_the_map_is_true_to_the_tree() -> None:
    assert module_map() == written(), "to write it anew: python tests/house/module_map.py"
