"""Who a request comes from. The middleware finds out; a route asks for what it needs: ``who: Operator``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from fastapi import Depends, HTTPException, Request


class Role(str, Enum):
    """What a user may do."""

    VIEWER = "viewer"
    """See everything."""
    OPERATOR = "operator"
    """Act, too."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user.

    Attributes:
        name: for the audit.
        role: what it may do.
    """

    name: str
    role: Role


def viewer(request: Request) -> Identity:
    """Whoever may see.

    Raises:
        HTTPException: 401 where nobody is logged in.
    """
    identity = getattr(request.state, "identity", None)
    if not isinstance(identity, Identity):
        raise HTTPException(401, "log in first, or send a token: Authorization: Bearer TOKEN")
    return identity


def operator(identity: Annotated[Identity, Depends(viewer)]) -> Identity:
    """Whoever may act.

    Raises:
        HTTPException: 401 where nobody is logged in, 403 where it is a viewer.
    """
    if identity.role is not Role.OPERATOR:
        raise HTTPException(403, f"{identity.name} may look, not act; ask an operator")
    return identity


Viewer = Annotated[Identity, Depends(viewer)]
"""A route's parameter of this type lets in whoever may see."""

Operator = Annotated[Identity, Depends(operator)]
"""A route's parameter of this type lets in whoever may act."""
