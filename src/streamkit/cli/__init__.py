"""The command line: `python -m streamkit`, installed as `streamkit-ai`.

arguments       what may be typed
demo            the main job, once, on this machine: a model's answer over SSE and back
endpoint        the demo's ASGI app, and the local server that runs it
serve           a function of the user's, on every protocol
record          an address asked once, its answer kept as it was cut and timed
replay          a recording given back, here or by
replay_server   a server on this machine that answers every request with it
printing        text that commands no terminal
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from streamkit.cli.arguments import parser
from streamkit.errors import StreamkitError
from streamkit.stages.printable import printable_text

__all__ = ["main"]

INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code: 0 done, 1 failed, 2 not understood, 130 interrupted.

    Errors of streamkit's own are told in one line on stderr; others are bugs and keep their traceback.

    >>> main(["demo", "--question", ""])
    1
    """
    options = parser().parse_args(argv)
    try:
        # Imported here: `--help` and `--version` need nothing that a command needs.
        match options.command:
            case "record":
                from streamkit.cli.record import run_record

                return run_record(options)
            case "serve":
                from streamkit.cli.serve import run_serve

                return run_serve(options)
            case "replay":
                from streamkit.cli.replay import run_replay

                return run_replay(options)
            case _:
                from streamkit.cli.demo import run_demo

                return run_demo(options)
    except StreamkitError as error:
        print(f"streamkit: {printable_text(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstreamkit: interrupted; everything is closed", file=sys.stderr)
        return INTERRUPTED
