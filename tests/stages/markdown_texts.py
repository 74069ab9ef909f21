"""Markdown on which readers of Markdown go wrong, each written by hand for one reason or more, with its blocks.

A text is written as the list of its top-level blocks; joined they are the text.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BLOCK_FUTURES", "CODE_FUTURES", "MARKDOWN_BLOCKS", "MARKDOWN_TEXTS"]

MARKDOWN_BLOCKS: Final[dict[str, list[str]]] = {
    "paragraphs": ["One line\nand another.\n\n", "Next *one*.\n \t\n\n", "Last"],
    "blank lines first": ["\n  \n\nText\n"],
    "white space alone": [" \n\t\n"],
    "headings": ["# One\n", "## Two ##\n", "text #no\n#no\n", "### \n", "####### seven\n"],
    "setext headings": ["Title\n===\n", "Two lines\nof title\n---\n", "text\n\n", "---\n", "***\n"],
    "breaks": ["a\n", "***\n", "b\n\n", "- - -\n", "_ _ _\n", "__x\n"],
    "fence": ["Look:\n", "```python\ndef f():\n\n    # no heading\n    return '~~~'\n\n```\n\n", "Done."],
    "fence of tildes": ["~~~ `x` ~~~\n```\n~~\n\n~~~~   \n", "b"],
    "longer fence around fences": ["````markdown\n```python\nx = 1\n```\n\n````\n", "after"],
    "a fence needs its length": ["```\na\n``\n`````\n", "b"],
    "info behind a closing fence": ["```\na\n``` x\n\nb\n```\n", "c"],
    "never closed": ["```sql\nSELECT *\n\nFROM t\n\n# text\n"],
    "backticks in the info string": ["para\n```not a fence`\n\n", "```a`b```\nx"],
    "indented fence": ["   ```\n   a\n  b\n   ```\n", "c\n\n", "    ```\n    d\n"],
    "indented code": ["    a\n\n\n    b\n", "c\n    lazy\n"],
    "indented by tabs": ["\ta\n  \tb\n", "c"],
    "tight list": ["- a\n- b\n- c\n"],
    "loose list": ["- a\n\n- b\n\n\n- c\n\n", "d"],
    "nested list": ["1. a\n   - b\n     - c\n\n       d\n   - e\n2. f\n\n", "text"],
    "list of another mark": ["- a\n", "* b\n", "+ c\n", "1. d\n", "1) e\n"],
    "lazy list": ["- a\nb\n  c\n\n", "d"],
    "list behind a paragraph": ["text\n", "- a\n", "***\n"],
    "numbers that begin no list": ["It was in\n1986. What a year.\n", "1. now\n"],
    "empty items": ["-\n- b\n-\n\n", "c"],
    "item that begins with a blank line": ["-\n\n", "  foo"],
    "fence in a list": ["1. Install:\n\n   ```sh\n   pip install x\n\n   ```\n\n2. Run\n\n", "End"],
    "list ends an open fence": ["- ```\n  a\n", "b\n"],
    "code in a list": ["-     code\n\n      more\n\n", "text"],
    "quote": ["> a\n> b\nlazy\n> c\n\n", "> d\n"],
    "quote with blocks": ["> # T\n> - a\n>\n>   b\n> ```\n> x\n> ```\n", "c"],
    "fence in a quote is not lazy": ["> ```\n> a\n", "b\n"],
    "quote in a list in a quote": ["> 1. > a\nb\n> 2. c\n", "# d"],
    "table": ["| a | b |\n|---|:-:|\n| `x` | 2 |\n| 3\n\n", "text"],
    "table without outer pipes": ["a | b\n--- | ---\n1 | 2\n", "# h\n"],
    "table under a paragraph": ["Numbers:\nmore\n", "| a |\n| - |\n| 1 |\n", "> q"],
    "no table": ["| a | b |\n|---|\n\n", "| a |\n"],
    "escaped pipe": ["| a \\| b |\n| --- |\n| c |\n"],
    "html": ["<div>\n*a*\n\n", "b\n", "</div>\nc\n\n", "d"],
    "comment": ["<!-- a\n\nb -->\n", "c\n"],
    "script": ["<script>\nif (a) {\n\n}\n</script> x\n", "b"],
    "processing and declarations": ["<?php\n\n?>\n", "<!DOCTYPE html>\n", "<![CDATA[\n\n]]>\n", "<a href='x'>\nb\n\n", "c\n<b>\n"],
    "details": ["<details>\n<summary>S</summary>\n\n", "```\na\n```\n\n", "</details>\n"],
    "definitions": ["[a]: http://x 'T'\n[b]: <y>\n\"title\"\n", "text [a]\n[c]: no\n"],
    "math": ["So\n", "$$\nx = 1\n\n- y\n$$\n", "is\n", "\\[\na\n\\]\n", "and $$a$$ in text\n"],
    "math on one line": ["$$x = 1$$\n", "$$y$$ is text\n\n", "$$ a\n# b\n\n", "c"],
    "cr and crlf": ["a\r\n\r\n", "# b\r", "```\rx\r\r```\r\n", "c\r"],
    "two scripts": ["# 标题\n\n", "段落。\n- 一\n".partition("- ")[0], "- 一\n- 二\n\n", "مرحبا"],
    "escapes": ["\\# no\n\\- no\n1\\. no\n\\```\nx\n"],
    "thought as a model writes": [
        "Sure! Here it is:\n\n",
        "## Plan\n\n",
        "1. **Read** the file:\n   ```py\n   open('a')\n   ```\n2. *Write* it\n   > note\n\n",
        "| Step | Time |\n|------|-----:|\n| 1 | 3 ms |\n\n",
        "---\n\n",
        "That's **all**.\n",
    ],
    "marks at the ends": ["**\n\n", "`\n\n", "*\n", "_\n\n", "~~\n\n", "["],
}

MARKDOWN_TEXTS: Final[dict[str, str]] = {name: "".join(blocks) for name, blocks in MARKDOWN_BLOCKS.items()}

# What decides where a block ends, and whether a line is code.
BLOCK_FUTURES: Final = [
    *["\n\n\nx", " \n\nx", "x\n\n# y", "-\n\nz", "`\n\nz", "| - |\n| - |\n", "\n| - |\n|---|\n", "\n===\n\nz", "$$\n\nx"],
    *["\n\n    x\n\n> y", ". x\n\n> q", "x`y\n\nz", "c]: d\n\nz", "x$$ y\n\nz", "x\\] y\n\nz", ": d\n\nz", "x>\n\nz", 't"\n\nz'],
]
CODE_FUTURES: Final = [
    "x",
    " ",
    "\n",
    "`",
    "`\nx",
    "~",
    "```\nx",
    "\n```\nx",
    "~~~~\nx",
    "\nx",
    "    x",
    "`x",
    " x\n",
    "> x",
    "- `\nx",
]
