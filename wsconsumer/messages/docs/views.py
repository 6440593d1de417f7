"""The page: whom it is for, and what its template gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe

from ...protocol import CloseCode
from .described import described_routes, untyped_routes

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@login_not_required  # who may see it is decided here
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the page to anybody with ``DEBUG``, and else to staff."""
    user = getattr(request, "user", None)
    username = user.get_username() if user is not None and user.is_authenticated else ""
    if not settings.DEBUG and not _is_staff(user):
        if username or user is None:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())
    context = {
        "host": request.get_host(),
        "routes": described_routes(),
        "others": untyped_routes(),
        "username": username,
        "login": redirect_to_login(request.get_full_path()).url if user is not None else "",
        "close_codes": {int(code): code.name.lower().replace("_", " ") for code in CloseCode},
    }
    response = render(request, "wsconsumer/docs/page.html", context)
    add_never_cache_headers(response)
    return response


def _is_staff(user: Any) -> bool:
    return user is not None and user.is_active and user.is_staff
