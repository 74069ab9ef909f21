"""The embedded model: it answers questions about streamkit from streamkit's own pages.

    corpus   the packaged pages, cut into sections and units
    index    which sections fit a question: BM25
    answer   a Markdown answer made of the units that fit best
    tokens   text cut the way language models cut it
    engine   the model: a request in, events out

No network, no key, no download, no waiting: whoever runs the engine sleeps between its tokens.
"""

from __future__ import annotations

from streamkit.clients.local.engine import LocalModel as LocalModel
