"""A plan in words and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import streamkit as sk


def plan() -> sk.Stream[str]:
    both = sk.merge(sk.stream([1]).map(str) | sk.buffer(3), sk.stream(["2"]))
    return both | sk.timeout(idle=1) | sk.take(3)


def test_each_loop_says_in_which_task_it_runs_and_each_inner_plan_is_shown() -> None:
    assert [
        "source   merge(list, list)",
        "  . source   list",
        "  . loop     map(str)                    a task of its own",
        "  . between  buffer(3)",
        "  . loop     as it comes                 for the source above",
        "  . source   list",
        "  . loop     as it comes                 for the source above",
        "loop     as it comes                 same task",
        "between  timeout(idle=1)",
        "loop     take(3)                     consumer's task",
    ] == plan().explain().splitlines()


def test_a_notebook_sees_the_same_as_boxes() -> None:
    picture = plan()._repr_html_().replace("&rarr;", ">")
    words = " ".join(ET.fromstring(picture).itertext())
    for word in ("merge(list, list)", "map(str)", "buffer(3)", "timeout(idle=1)", "take(3)", "consumer's task"):
        assert word in words


def test_what_a_label_says_is_never_markup() -> None:
    def evil(item: str) -> str:
        return item

    evil.__qualname__ = "<script>alert(1)</script>"
    for shown in (sk.stream(["a"]).map(evil)._repr_html_(), sk.map(evil)._repr_html_()):
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_an_operator_alone_is_drawn_too() -> None:
    picture = (sk.sentences() | sk.buffer(4))._repr_html_()
    assert "sentences()" in picture and "buffer(4)" in picture
    assert "take(1)" in sk.take(1)._repr_html_()
