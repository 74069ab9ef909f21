"""A plan in words, for `stream.explain()`."""

from __future__ import annotations

from streamkit.flow.plan import Laid, Step
from streamkit.flow.sources import Source

__all__ = ["explain_plan"]


def explain_plan(source: Source, parts: tuple[Laid, ...]) -> str:
    """One line per segment: what runs in one loop, in which task, and what stands between.

    >>> print(explain_plan(Source("gen()", lambda run: None), (Step("map", "map(f)", None),)))
    source   gen()
    loop     map(f)                      consumer's task
    """
    lines = [("source", source.label, "")]
    loop: list[str] = []
    for part in parts:
        if isinstance(part, Step):
            loop.append(part.label)
            continue
        tasks = getattr(part, "own_task", True)
        lines.append(("loop", " | ".join(loop) or "as it comes", "a task of its own" if tasks else "same task"))
        lines.append(("between", part.label, ""))
        loop = []
    lines.append(("loop", " | ".join(loop) or "as it comes", "consumer's task"))
    return "\n".join(f"{kind:<9}{what:<28}{who}".rstrip() for kind, what, who in lines)
