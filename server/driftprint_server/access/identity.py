"""Who a request comes from. The middleware finds out; a route asks for what it needs: ``who: Operator``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security

from driftprint_server.access.schemes import SESSION, TOKEN

LOG_IN = "log in first, or send a token: Authorization: Bearer TOKEN"
ASK_FOR_TOKEN = {"WWW-Authenticate": "Bearer"}
"""The headers of such an answer (RFC 9110, section 11.6.1)."""


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

    @property
    def may_not_act(self) -> str | None:
        """What a viewer is told who wants to act; None for an operator."""
        return None if self.role is Role.OPERATOR else f"{self.name} may look, not act; ask an operator"


def viewer(
    request: Request,
    _token: Annotated[object, Security(TOKEN)] = None,
    _session: Annotated[object, Security(SESSION)] = None,
) -> Identity:
    """Whoever may see.

    Raises:
        HTTPException: 401 where nobody is logged in.
    """
    identity = getattr(request.state, "identity", None)
    if not isinstance(identity, Identity):
        raise HTTPException(401, LOG_IN, headers=ASK_FOR_TOKEN)
    return identity


def operator(identity: Annotated[Identity, Depends(viewer)]) -> Identity:
    """Whoever may act.

    Raises:
        HTTPException: 401 where nobody is logged in, 403 where it is a viewer.
    """
    if objection := identity.may_not_act:
        raise HTTPException(403, objection)
    return identity


Viewer = Annotated[Identity, Depends(viewer)]
"""A route's parameter of this type lets in whoever may see."""

Operator = Annotated[Identity, Depends(operator)]
"""A route's parameter of this type lets in whoever may act."""
