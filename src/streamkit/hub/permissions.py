"""Who may do what with a stream: whose it is, and what the application says.

A caller names an owner, or none. A stream that has an owner is for those who name the same; the application's own
`authorize` decides besides, in the context of who asks. Whoever may not is told what is told of a stream that is not there.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from streamkit.hub.following import unknown

__all__ = ["Action", "Asked", "Authorize", "Permissions", "check_asked", "check_owner", "same_owner"]

Action: TypeAlias = Literal["subscribe", "resume", "cancel", "status", "publish"]
Authorize: TypeAlias = Callable[[str | None, Action], bool | Awaitable[bool]]
# The owner that a caller names; or the first epoch of the stream that a handle of the hub's own was made for, who asks by nothing
# else; None where nobody is to be asked.
Asked: TypeAlias = tuple[str | None] | int | None


class Permissions:
    """The rule of one hub.

    Args:
        authorize: The application's own; None where owners alone decide.
    """

    __slots__ = ("authorize",)

    def __init__(self, authorize: Authorize | None) -> None:
        self.authorize = authorize

    async def ask(self, id: str, owner: str | None, first_epoch: int | None, action: Action, asked: Asked) -> None:
        """Whether the caller may.

        Raises:
            UnknownStream: no; the same as for a stream that is not there.
        """
        if asked is None:
            return
        if isinstance(asked, int):
            if asked != first_epoch:  # another one under its name, which is none of this handle's
                raise unknown(id)
            return
        named = asked[0]
        if self.authorize is None or named is not None:
            allowed: bool | Awaitable[bool] = same_owner(owner, named)
        else:
            allowed = True
        if allowed and self.authorize is not None:
            allowed = self.authorize(owner, action)
            if inspect.isawaitable(allowed):
                allowed = await allowed
        if not allowed:
            raise unknown(id)


def same_owner(owner: str | None, named: str | None) -> bool:
    """Whether a stream of this owner is for who names that one; compared in the same time whatever is named."""
    if owner is None:
        return True  # nobody's: who knows the name may
    return named is not None and hmac.compare_digest(owner.encode("utf-8", "surrogatepass"), named.encode("utf-8", "surrogatepass"))


def check_owner(call: str, owner: object) -> None:
    """Raise TypeError for what no owner can be."""
    if not isinstance(owner, str | None):
        raise TypeError(f"{call}(owner=...) takes a str, got {type(owner).__name__}")


def check_asked(call: str, id: object, asked: Asked) -> None:
    """Raise TypeError for what no id can be, or no owner."""
    if not isinstance(id, str):
        raise TypeError(f"{call}() takes a stream's id, a str, got {type(id).__name__}")
    if isinstance(asked, tuple):
        check_owner(call, asked[0])
