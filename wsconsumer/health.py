"""
A view for load balancers: whether this process takes new websockets.

``path("ready/", ready)`` in ``urls.py``. It asks no database, no cache and no engine: a process
that has lost one of these still holds its websockets, and nothing is won if all are taken out of
service at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from .serving import is_draining

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["ready"]


@login_not_required
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200, or 503 once SIGTERM has come and ``DRAIN_SECONDS`` run."""
    text, status = ("draining", 503) if is_draining() else ("ready", 200)
    response = HttpResponse(
        f"{text}\n",
        status=status,
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
    # Django would log the 503 as an error of the site, and mail it to the admins.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # as Django does
    return response
