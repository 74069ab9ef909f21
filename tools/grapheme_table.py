"""Writes src/streamkit/stages/grapheme_table.py: which characters UAX #29 treats in which way.

    python -m pip install regex && python tools/grapheme_table.py > src/streamkit/stages/grapheme_table.py

Python's own `unicodedata` does not know these properties; the module `regex` carries the Unicode Character Database.
"""

from __future__ import annotations

import sys
from itertools import groupby

import regex

# In this order: a character that has two of these properties is of the kind that stands later.
KINDS = {
    "CONTROL": "GCB=Control",
    "EXTEND": "GCB=Extend",
    "PREPEND": "GCB=Prepend",
    "SPACING": "GCB=SpacingMark",
    "LEADING": "GCB=L",
    "VOWEL": "GCB=V",
    "TRAILING": "GCB=T",
    "PICTURE": "Extended_Pictographic",
    "CONSONANT": "InCB=Consonant",
}
LINKER = regex.compile(r"[\p{InCB=Linker}&&\p{GCB=Extend}]", regex.V1)

HEAD = '''"""Kinds of characters in UAX #29, table 2, with table 1c for Indic scripts: written by tools/grapheme_table.py.

Each range is its first code point in hexadecimal and, behind a plus, how many more there are.
Hangul syllables, regional indicators, CR, LF and the two joiners are few or follow a rule: `graphemes` knows them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RANGES", "SOURCE"]

SOURCE: Final = "regex {version}"

RANGES: Final[dict[str, str]] = {{'''


def kinds() -> list[str]:
    """The kind of every code point, "" for those without one."""
    found = [""] * (sys.maxunicode + 1)
    for kind, property_value in KINDS.items():
        matches = regex.compile(rf"\p{{{property_value}}}").match
        for code in range(sys.maxunicode + 1):
            if matches(chr(code)):
                found[code] = kind
    for code in range(sys.maxunicode + 1):
        if LINKER.match(chr(code)):
            found[code] = "LINKER"
    found[0x200C] = ""  # the non-joiner, which `graphemes` knows
    return found


def main() -> None:
    """Print the module."""
    print(HEAD.format(version=regex.__version__))
    ranges: dict[str, list[str]] = {}
    at = 0
    for kind, same in groupby(kinds()):
        count = len(list(same))
        if kind:
            ranges.setdefault(kind, []).append(f"{at:x}" + (f"+{count - 1:x}" if count > 1 else ""))
        at += count
    for kind in [*KINDS, "LINKER"]:
        print(f'    "{kind}": (')
        line = ""
        for one in ranges[kind]:
            if len(line) + len(one) > 112:
                print(f'        "{line}"')
                line = ""
            line += one + " "
        print(f'        "{line.rstrip()}"\n    ),')
    print("}")


if __name__ == "__main__":
    main()
