r"""Markdown that renders at any moment while it is written: what is half there is held back, what is open is closed for now.

A text so far is shown as `delta + delta + ... + closing`. The deltas join to the text itself; the closing, short, ends what
they leave open, and is replaced with each item. So a page costs the text once, and not once per token.

What is held back, and so neither given nor shown until the next characters decide:

* marks at the end, since nobody knows whether they open or close: `**`, backticks, `~~`, `$$`, white space, a backslash;
* a link from `](` on (it is shown as a link to `streamkit:incomplete-link` for now), an image from `![` on, a tag from `<` on;
* the beginning of a line as long as it may be a marker (`-`, `1.`, `##`, `>`), an underline that makes a heading of the line above,
  a fence with its info string, a table's header row or its delimiter row, a task's box. A fence is given with its line end.

What is closed, innermost first (CommonMark 0.31.2 and GFM):

    **bold  *emph  _emph       6.2, by its flanking and rule-of-three tests: not `2 * 3`, nor snake_case
    ~~struck                   GFM 6.5, two tildes
    `code                      6.1; nothing inside it counts
    [text                      6.3, 6.6: "](streamkit:incomplete-link)"
    $$x   \(x   \[x            math
    ```                        4.5, on a line of its own, behind what the containers around it ask of a line
    | a | b |                  GFM 4.10, a header row: by a delimiter row

Marks count within their block; in a table within their cell. An escape (2.4) is no mark. In indented code and HTML nothing is done.
What is never closed by the text itself is shown as it is once its block is over, as any reader of Markdown shows it.

Of what is held back there are bounds (a link 2,048 characters, a tag 512, a line's beginning 256): beyond them it is text.
So is, of a line, all beyond its first 4,096 characters for the question which block it belongs to, and of marks inside one
another those beyond the 32nd.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import ClassVar, Final, final

import msgspec

from streamkit.stages.markdown_grammar import cells
from streamkit.stages.markdown_outline import Leaf, Line, Outline
from streamkit.stages.stage import Stage, not_text

__all__ = ["HealMarkdown", "Healed", "HealedText"]

_LINE_END = re.compile(r"\r\n?|\n")
_LINK_CLOSER: Final = "](streamkit:incomplete-link)"

_READ: Final = 4096
_LONGEST_HEAD: Final = 256
_LONGEST_LINK: Final = 2048
_LONGEST_TAG: Final = 512
_LONGEST_TAIL: Final = 4096
_DEEPEST: Final = 32

# What stands before a line's text: quotes, list markers, a heading's mark; each may still be growing.
_MARKERS = re.compile(r"(?:[ \t>]|[-+*](?=[ \t]|$)|\d{1,9}(?:[.)](?=[ \t]|$)|$)|#{1,6}(?=[ \t]|$))*")
_ITEM = re.compile(r"(?:[-+*]|\d{1,9}[.)])[ \t]+$")
# What may still become a rule, an underline or a delimiter row; a fence; math; a tag.
_UNDECIDED = re.compile(
    r"([-*_=])(?:\1|[ \t])*$|[|:-][|:\- \t]*$|`{1,2}$|`{3,}[^`]*$|~{1,2}$|~~~|(?:\${1,2}|\\\[?)[ \t]*$"
    r"|<(?:/?[A-Za-z!?][^<>]*>?[ \t]*)?$|!$"
)
_BOX = re.compile(r"\[(?:[ xX]\]?)?$")

_TEXT = re.compile(r"[^*_`~$\[\]!<\\ \t\r\n|]+")
_PLAIN = re.compile(r"[^*_`~$\[\]!<\\\r\n|]+")
_CODE = re.compile(r"[^` \t\r\n|]+")
_MATH = re.compile(r"[^$\\ \t\r\n]+")
_SPACE = re.compile(r"[ \t\r\n]+")
_VERBATIM = frozenset("`$\\")


class Healed(msgspec.Struct, frozen=True):
    """More of a Markdown text, and what closes it for now.

    Attributes:
        delta: The text behind all deltas before; may be empty.
        closing: What to show behind it until the next item comes; mostly empty.

    >>> Healed("**bo", "**").closing
    '**'
    """

    delta: str
    closing: str


@final
class HealedText:
    """All of a healed text, to be shown.

    Memory: the text. `add` costs the delta; only `str` costs the text, and it joins it once.

    >>> page = HealedText()
    >>> page.add(Healed("**bo", "**"))
    >>> str(page)
    '**bo**'
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._closing = ""

    def add(self, healed: Healed) -> None:
        """Take the next item."""
        self._parts.append(healed.delta)
        self._closing = healed.closing

    def __str__(self) -> str:
        """The text so far, closed."""
        text = "".join(self._parts)
        self._parts = [text]
        return text + self._closing


@final
class HealMarkdown(Stage[str, Healed]):
    """Chunks of Markdown to deltas with their closings.

    `flush` gives what is held back, with nothing to close: then the deltas are the text, as it is.

    Memory: some 10,000 characters at most. Time is linear in the text.

    >>> heal = HealMarkdown()
    >>> [*heal.feed("a **bo")], [*heal.feed("ld*")], [*heal.feed("* `x")]
    ([Healed(delta='a **bo', closing='**')], [Healed(delta='ld', closing='**')], [Healed(delta='** `x', closing='`')])
    """

    state: ClassVar = (
        *("_tail", "_tail_length", "_stack", "_shown", "_run", "_before", "_previous", "_hold", "_hold_length", "_depth"),
        *(
            "_quote",
            "_image",
            "_begun",
            "_line",
            "_line_length",
            "_mode",
            "_row",
            "_verbatim",
            "_header",
            "_given_last",
            "_after_cr",
        ),
        "_closed",
    )

    def __init__(self) -> None:
        self._outline = Outline()
        self._given: list[str] = []  # of this call
        self._given_last = "\n"
        self._closed = ""  # the closing that was given last
        self._tail: list[str] = []  # held back
        self._tail_length = 0
        # Marks that are open, innermost last: those that were read, and those of what was given.
        self._stack: list[tuple[str, int]] = []
        self._shown: tuple[tuple[str, int], ...] = ()
        self._run = ""  # marks at the end, of one kind
        self._before = " "  # the character before them
        self._previous = " "
        self._hold = ""  # what is being held, see _held
        self._hold_length = 0
        self._depth = 0
        self._quote = ""
        self._image = False
        # The open line.
        self._begun = ""  # its first characters, as long as they decide nothing
        self._line: list[str] = []
        self._line_length = 0
        self._mode = "head"  # then "text" or "raw"
        self._row = False  # in a table
        self._verbatim = ""  # what closes the open fence or math
        self._header = 0  # cells of the header row above
        self._after_cr = False

    def feed(self, item: str) -> Iterable[Healed]:
        """More text and its closing; nothing if neither changed.

        Raises:
            TypeError: the item is not a str.
        """
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("heal_markdown", item)
        if not item:
            return ()
        # Most tokens: no mark, within a line of text where none is open.
        if (
            self._mode == "text"
            and not (self._tail or self._stack or self._hold or self._run or self._shown or self._verbatim or self._after_cr)
            and _PLAIN.fullmatch(item) is not None
        ):
            return (self._plain(item),)
        begin = 0
        if self._after_cr:
            self._after_cr = False
            begin = int(item[0] == "\n")
            self._end_line("\r\n" if begin else "\r")
        if "\n" in item or "\r" in item:
            for end in _LINE_END.finditer(item, begin):
                self._add(item[begin : end.start()])
                begin = end.end()
                if begin == len(item) and end[0] == "\r":
                    self._after_cr = True
                    break
                self._end_line(end[0])
        if begin < len(item):
            self._add(item[begin:] if begin else item)
        delta = self._taken()
        closing = self._closing()
        if not delta and closing == self._closed:
            return ()
        self._closed = closing
        return (Healed(delta, closing),)

    def _plain(self, item: str) -> Healed:
        """Text that is given as it comes."""
        if self._line_length < _READ:
            self._read(item)
        self._given_last = item[-1]
        self._previous = " " if item[-1] in " \t" else item[-1]
        self._closed = ""
        return Healed(item, "")

    def flush(self) -> Iterable[Healed]:
        """What was held back. Nothing is closed: this is the text."""
        rest = "".join(self._tail) + ("\r" if self._after_cr else "")
        closed = self._closed
        self.__init__()  # a text that follows is another one
        return (Healed(rest, ""),) if rest or closed else ()

    def snapshot(self) -> dict[str, object]:
        """All that it has learned so far, as plain values of its own."""
        return super().snapshot() | {"outline": self._outline.snapshot()}

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage, made in the same way, was saved."""
        super().restore({name: value for name, value in saved.items() if name != "outline"})
        self._outline.restore(saved["outline"])

    # What is given and what is held.

    def _taken(self) -> str:
        text = "".join(self._given)
        if text:
            self._given_last = text[-1]
            self._given.clear()
        return text

    def _keep(self, text: str) -> None:
        self._tail.append(text)
        self._tail_length += len(text)
        if self._tail_length > _LONGEST_TAIL:
            self._settle()

    def _settle(self) -> None:
        """What is held is certain: give it, and close from now on what is open behind it."""
        if self._tail:
            self._given += self._tail
            self._tail.clear()
            self._tail_length = 0
        self._shown = tuple(self._stack)

    def _content(self, text: str) -> None:
        self._settle()
        self._given.append(text)
        self._previous = text[-1]

    def _closing(self) -> str:
        if self._verbatim:
            return self._verbatim if self._verbatim[0] != "\n" or self._given_last != "\n" else self._verbatim[1:]
        if self._header and self._mode == "head":
            return self._before_line() + "|" + " --- |" * self._header
        if not self._shown:
            return ""
        # A link holds no other: of brackets in brackets only the innermost is one.
        link = max((at for at, (mark, _) in enumerate(self._shown) if mark == "["), default=-1)
        marks = [(mark, count) for at, (mark, count) in enumerate(self._shown) if mark != "[" or at == link]
        return "".join(_closer(mark, count) for mark, count in reversed(marks))

    def _before_line(self) -> str:
        """What a line must begin with to go on with the open containers."""
        return "".join("> " if width < 0 else " " * min(width, 99) for width, _ in self._outline.containers)

    # Lines.

    def _add(self, text: str) -> None:
        """More of the open line."""
        if not text:
            return
        if self._line_length < _READ:
            self._read(text)
        if self._mode == "text":
            self._inline(text)
        elif self._mode == "raw":
            self._raw(text)
        else:
            self._head(text)

    def _read(self, text: str) -> None:
        """Remember it: the whole line says what it was."""
        piece = text[: _READ - self._line_length]
        self._line.append(piece)
        self._line_length += len(piece)
        # Single characters are dear as list entries: join now and then, at growing distances.
        if len(self._line) > 64 and len(self._line) * 16 > self._line_length:
            self._line = ["".join(self._line)]

    def _head(self, text: str) -> None:
        """More of a line's beginning, by characters: what decides must not depend on how much came at once."""
        self._line.clear()
        line = self._begun
        for at, char in enumerate(text):
            line += char  # at most _LONGEST_HEAD of them
            if len(line) < _LONGEST_HEAD and self._undecided(line):
                continue
            self._begun = ""
            self._keep(text[: at + 1])
            self._line = [line, text[at + 1 :][: _READ - len(line)]]
            self._line_length = len(line) + len(self._line[1])
            self._begin(line)
            if at + 1 < len(text):
                (self._inline if self._mode == "text" else self._raw)(text[at + 1 :])
            return
        self._begun = line
        self._line_length = len(line)
        self._keep(text)

    def _undecided(self, line: str) -> bool:
        """Whether it is still open what this line begins."""
        if self._outline.leaf is Leaf.FENCE and not self._outline.leaves(line):
            return self._outline.code_at(line) is None
        found = _MARKERS.match(line)
        at = found.end() if found else 0
        rest = line[at:]
        if not rest:
            return True
        if rest[0] == "|" and self._outline.leaf is not Leaf.TABLE:
            return True
        if self._outline.leaf in (Leaf.HTML, Leaf.MATH):
            return False
        if _UNDECIDED.match(rest):
            return True
        return rest[0] == "[" and _BOX.match(rest) is not None and _ITEM.search(line[:at]) is not None

    def _begin(self, line: str) -> None:
        """It is decided what the open line is: read its beginning as that."""
        after = self._outline.copy()
        what = after.line(line)
        self._header = 0
        self._row = after.leaf is Leaf.TABLE
        leaf = after.leaf
        held = "".join(self._tail)
        self._tail = [held[: len(held) - len(line)]]
        self._tail_length = len(self._tail[0])
        if what.opens or what.closes or self._row:
            self._reset()
            self._settle()
        if self._outline.leaf is Leaf.FENCE and leaf is not Leaf.FENCE:
            self._verbatim = ""
        if leaf in (Leaf.FENCE, Leaf.INDENTED, Leaf.HTML) or (leaf is Leaf.MATH and after.indent) or _is_html(what, line):
            self._mode = "raw"
            self._raw(line)
            return
        self._mode = "text"
        found = _MARKERS.match(line)
        at = found.end() if found else 0
        # The markers stay held until there is text: alone they would show an empty item or heading.
        self._keep(line[:at])
        self._previous = " "
        self._inline(line[at:])

    def _raw(self, text: str) -> None:
        """Code, HTML or math: given as it is, but for half of what ends math."""
        if self._verbatim and self._verbatim[-1] in "$]":
            mark = self._verbatim[-2:]
            whole = "".join(self._tail) + text
            if mark in whole:
                self._verbatim = ""
                self._content(text)
            elif whole.endswith(mark[0]):
                self._settle()
                self._given.append(text[:-1])
                self._keep(text[-1])
            else:
                self._content(text)
            return
        self._content(text)

    def _end_line(self, end: str) -> None:
        line = self._begun or "".join(self._line)
        self._decide_at_end(line)
        what = self._outline.line(line)
        leaf = self._outline.leaf
        text = self._mode == "text"
        if text:
            self._inline(end)
        else:
            self._keep(end)
        self._begun = ""
        self._line.clear()
        self._line_length = 0
        self._mode = "head"
        self._header = 0
        if text and leaf in (Leaf.PARAGRAPH, Leaf.MATH):
            self._announce_table(line[what.at :])
            return
        self._reset()
        self._settle()
        if leaf not in (Leaf.FENCE, Leaf.MATH):
            self._verbatim = ""
        elif what.opens:
            self._verbatim = f"\n{self._before_line()}{self._outline.mark}"

    def _decide_at_end(self, line: str) -> None:
        """A line that could have become many things is text, if that is what it is as a whole."""
        if self._mode == "head" and line.strip(" \t"):
            after = self._outline.copy()
            after.line(line)
            if after.leaf in (Leaf.PARAGRAPH, Leaf.TABLE, Leaf.DEFINITION):
                self._begun = ""
                self._begin(line)

    def _announce_table(self, row: str) -> None:
        """The line was a paragraph's: if it is a header row by its looks, its table is shown at once."""
        count = cells(row)
        if row.lstrip().startswith("|") and count and not self._stack and not self._hold:
            self._header = count
            self._settle()

    # Text within a block: 6, inlines.

    def _reset(self) -> None:
        """A block ends: its marks count no more."""
        if self._stack or self._run or self._hold or self._shown:
            if self._run:
                self._resolve(" ")
            self._stack.clear()
            self._shown = ()
            self._run = self._hold = self._quote = ""
        self._previous = " "

    def _inline(self, text: str) -> None:
        at, end = 0, len(text)
        while at < end:
            char = text[at]
            if self._hold:
                at += self._held(char)
                continue
            if self._run and char != self._run[0]:
                self._resolve(char)
            top = self._stack[-1][0] if self._stack else ""
            plain = (_CODE if top == "`" else _MATH if top[:1] in ("$", "\\") and top else _TEXT).match(text, at)
            if plain:
                self._content(plain[0])
                at = plain.end()
                continue
            at = self._special(text, at, char, top)

    def _special(self, text: str, at: int, char: str, top: str) -> int:
        """A character that means something, or might."""
        if char in " \t\r\n":
            return self._space(text, at)
        verbatim = top[:1] in _VERBATIM and bool(top)
        if char == "|":
            if self._row:
                self._reset()
            self._content(char)
        elif char in "*_~`$" and (not verbatim or char == top[0]):
            if not self._run:
                self._before = self._previous
            self._run += char
            self._keep(char)
            self._previous = char
            if len(self._run) > _LONGEST_HEAD:
                self._run = ""
                self._settle()
        elif char == "\\" and top[:1] != "`":
            self._enter("escape", char)
        elif verbatim:
            self._content(char)
        elif char == "[":
            self._push(("[", 1))
            self._keep(char)
            self._previous = char
        elif char == "]" and any(mark == "[" for mark, _ in self._stack):
            self._enter("bracket", char)
        elif char == "!":
            self._enter("bang", char)
        elif char == "<":
            self._enter("angle", char)
        else:
            self._content(char)
        return at + 1

    def _space(self, text: str, at: int) -> int:
        found = _SPACE.match(text, at)
        end = found.end() if found else at + 1
        self._previous = " "
        if not self._stack and not self._shown and not self._tail:
            self._given.append(text[at:end])
            return end
        end = min(end, at + _LONGEST_TAIL + 1 - self._tail_length)
        self._keep(text[at:end])
        return end

    def _push(self, mark: tuple[str, int]) -> None:
        if len(self._stack) < _DEEPEST:
            self._stack.append(mark)

    def _enter(self, hold: str, char: str) -> None:
        self._hold = hold
        self._hold_length = 0
        self._depth = 1
        self._quote = ""
        self._image = False
        self._keep(char)
        self._previous = char

    def _leave(self) -> None:
        self._hold = ""
        self._settle()

    def _held(self, char: str) -> bool:
        """The next character of what is being held; whether it was read."""
        self._hold_length += 1
        match self._hold:
            case "escape":
                return self._escape(char)
            case "bracket":
                return self._behind_label(char)
            case "bang":
                if char == "[":
                    self._hold, self._image = "label", True
                    self._keep(char)
                    return True
                self._leave()
                return False
            case "angle":
                if char.isalpha() or char in "/!?":
                    self._hold = "tag"
                    self._keep(char)
                    return True
                self._leave()
                return False
            case "tag":
                return self._tag(char)
            case "label":
                return self._label(char)
            case "reference":
                return self._reference(char)
            case _:
                return self._link(char)

    def _escape(self, char: str) -> bool:
        """2.4; and math's brackets, which are escapes to CommonMark."""
        self._hold = ""
        top = self._stack[-1][0] if self._stack else ""
        closes = {"\\(": ")", "\\[": "]"}.get(top)
        if closes is not None:
            self._tail.append(char)
            if char == closes:
                self._stack.pop()
            self._settle()
        elif char in "([" and top[:1] != "$":
            self._keep(char)
            self._push(("\\" + char, 1))
        elif char in " \t\r\n":
            self._settle()
            return False
        else:
            self._content(char)
        self._previous = char
        return True

    def _behind_label(self, char: str) -> bool:
        if char in "([":
            self._hold = "link" if char == "(" else "reference"
            self._hold_length = 0
            self._depth = 1
            self._keep(char)
            return True
        if not self._image:
            self._drop_label(whole=False)
        self._leave()
        return False

    def _drop_label(self, *, whole: bool) -> None:
        """The innermost bracket is closed: as a link, with all marks that are open inside it, or as text."""
        at = next((at for at in range(len(self._stack) - 1, -1, -1) if self._stack[at][0] == "["), None)
        if at is not None:
            del self._stack[at : None if whole else at + 1]

    def _end_link(self, *, complete: bool) -> None:
        if not self._image:
            self._drop_label(whole=complete)
        self._previous = ")"
        self._leave()

    def _link(self, char: str) -> bool:
        """6.3: a destination and perhaps a title, to the bracket that closes them."""
        before, self._previous = self._previous, char
        if self._hold_length > _LONGEST_LINK:
            self._end_link(complete=False)
            return False
        self._keep(char)
        if before == "\\":
            self._previous = " "
        elif self._quote:
            self._quote = "" if char == self._quote else self._quote
        elif char in "\"'" and before in " \t\r\n":
            self._quote = char
        elif char == "(":
            self._depth += 1
        elif char == ")":
            self._depth -= 1
            if not self._depth:
                self._end_link(complete=True)
                if not self._image:  # a link holds no other: the brackets around this one are text
                    self._stack = [mark for mark in self._stack if mark[0] != "["]
                    self._shown = tuple(self._stack)
        return True

    def _reference(self, char: str) -> bool:
        """6.3: a full or collapsed reference."""
        if self._hold_length > _LONGEST_LINK or char == "[":
            self._end_link(complete=False)
            return False
        self._keep(char)
        if char == "]":
            self._end_link(complete=True)
        return True

    def _label(self, char: str) -> bool:
        """6.4: an image's description."""
        before, self._previous = self._previous, char
        if self._hold_length > _LONGEST_LINK:
            self._leave()
            return False
        self._keep(char)
        if before == "\\":
            self._previous = " "
        elif char == "[":
            self._depth += 1
        elif char == "]":
            self._depth -= 1
            if not self._depth:
                self._hold = "bracket"
        return True

    def _tag(self, char: str) -> bool:
        """6.5, 6.6: a tag or autolink; a character that neither has makes text of it."""
        if self._hold_length > _LONGEST_TAG or (not self._quote and char in "<`*"):
            self._leave()
            return False
        self._keep(char)
        if self._quote:
            self._quote = "" if char == self._quote else self._quote
        elif char in "\"'":
            self._quote = char
        elif char == ">":
            self._previous = char
            self._leave()
        return True

    # Runs of marks.

    def _resolve(self, after: str) -> None:
        """A run is over, since `after` follows: it closes, opens, or is text."""
        mark, count = self._run[0], len(self._run)
        self._run = ""
        if mark == "`":
            self._resolve_exact(("`", count))
        elif mark == "$":
            if count == 2:
                self._resolve_exact(("$$", 2))
            elif not self._stack or self._stack[-1][0] != "$$":
                self._settle()
        else:
            self._resolve_emphasis(mark, count, after)

    def _resolve_exact(self, mark: tuple[str, int]) -> None:
        """6.1: only as many as opened it close it."""
        if self._stack and self._stack[-1][0] == mark[0]:
            if self._stack[-1] == mark:
                self._stack.pop()
                self._settle()
        else:
            self._push(mark)

    def _resolve_emphasis(self, mark: str, count: int, after: str) -> None:
        opens, closes = _flanking(mark, self._before, after)
        left = count
        if mark == "~" and count != 2:
            opens = closes = False
        while closes and left:
            at = self._opener(mark, left, count, both=opens)
            if at is None:
                break
            held = self._stack[at][1]
            used = 2 if mark == "~" or (held > 1 and left > 1) else 1
            del self._stack[at:]
            if held > used:
                self._stack.append((mark, held - used))
            left -= used
        if left and opens:
            if left < count:
                self._settle()
            self._push((mark, left))
        elif left < count or not self._stack:
            self._settle()
        # A mark that is text stays held behind open ones: it would make one run with what closes them.

    def _opener(self, mark: str, left: int, count: int, *, both: bool) -> int | None:
        """The innermost mark that this run may close; none within code, math or another's link text."""
        for at in range(len(self._stack) - 1, -1, -1):
            found, held = self._stack[at]
            if found == "[":
                return None
            if found == mark and not (both and (held + count) % 3 == 0 and (held % 3 or count % 3)):
                return at
        return None


def _is_html(what: Line, line: str) -> bool:
    """Whether the line is an HTML block of its own."""
    return what.closes and line[what.at :].lstrip(" \t").startswith("<")


def _closer(mark: str, count: int) -> str:
    match mark:
        case "[":
            return _LINK_CLOSER
        case "\\(":
            return "\\)"
        case "\\[":
            return "\\]"
        case "$$":
            return mark
        case _:
            return mark * count


def _flanking(mark: str, before: str, after: str) -> tuple[bool, bool]:
    """6.2: whether a run between these characters can open, and whether it can close."""
    space_before, space_after = before.isspace(), after.isspace()
    mark_before, mark_after = _is_punctuation(before), _is_punctuation(after)
    left = not space_after and (not mark_after or space_before or mark_before)
    right = not space_before and (not mark_before or space_after or mark_after)
    if mark == "_":
        return left and (not right or mark_before), right and (not left or mark_after)
    return left, right


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS"
