"""Optional packages, imported when they are needed and asked for by name when they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from streamkit.errors import MissingExtra

__all__ = ["require"]


def require(module: str, *, extra: str, wanted_by: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: Its full name.
        extra: The extra of this distribution that installs it.
        wanted_by: What cannot work without it, as the user knows it.

    Raises:
        MissingExtra: it is not installed; the message holds the line that installs it.
        ModuleNotFoundError: it is installed, and something that it imports itself is not.

    >>> require("json", extra="all", wanted_by="this example").__name__
    'json'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise
        missing = error.name
    # Outside of the handler: Python's own error says the same, in thirty lines before the one that helps.
    raise MissingExtra(f"{wanted_by} needs {missing}: pip install 'streamkit-ai[{extra}]'", extra=extra)
