"""Who may look, and who may disconnect others: staff with a permission, as superusers have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.http import HttpRequest

VIEW: Final = "wsconsumer.view_connections"
CLOSE: Final = "wsconsumer.close_connections"

NOT_VIEWING: Final = f"Only staff with the permission {VIEW} may see who is connected."
"""What the log says of others."""


def may_view(request: HttpRequest) -> bool:
    """Whether the user may see who is connected; this asks the database."""
    return _is_staff_with(request, VIEW)


def may_close(request: HttpRequest) -> bool:
    """Whether the user may disconnect others, too."""
    return may_view(request) and _is_staff_with(request, CLOSE)


def _is_staff_with(request: HttpRequest, permission: str) -> bool:
    user = getattr(request, "user", None)
    return user is not None and user.is_active and user.is_staff and user.has_perm(permission)
