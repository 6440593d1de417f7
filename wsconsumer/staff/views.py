"""The page, and its table alone for where websockets are what does not work."""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_http_methods, require_safe

from ..connected.asking import disconnect, in_own_loop, who_is_connected
from ..connected.questions import Selection
from ..exceptions import BackendError
from ..reporting import describe_user
from .access import CLOSE, NOT_VIEWING, may_close, may_view
from .filters import Filter
from .table import LIMIT, PATIENCE, context_of, rendered

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

logger = logging.getLogger("wsconsumer.server")

TITLE: Final = "WebSockets"


def for_staff(view: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Let a view be called for those who may look; who is not logged in gets the admin's login."""

    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponseBase:
        if not may_view(request):
            if getattr(request, "user", None) is None or request.user.is_authenticated:
                raise PermissionDenied(NOT_VIEWING)
            return redirect_to_login(request.get_full_path(), _admin_url("login"))
        response = view(request)
        add_never_cache_headers(response)
        return response

    return login_not_required(checked)  # who may see it is decided here


def _admin_url(name: str) -> str:
    try:
        return reverse(f"admin:{name}")
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "wsconsumer.staff needs the admin's URLs, and there are none. Write "
            'path("admin/", admin.site.urls) behind path(..., include("wsconsumer.staff")).'
        ) from error


@for_staff
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponseBase:
    """Show who is connected; close what was chosen."""
    _admin_url("index")
    if request.method == "POST":
        return _close(request)
    form = Filter(request.GET)
    context = {**_asked(request, form), "form": form, "given": form.given, "query": form.query}
    return _render(request, "page", context)


@for_staff
@require_safe
def table(request: HttpRequest) -> HttpResponse:
    """Show the table alone."""
    return HttpResponse(rendered(_asked(request, Filter(request.GET))))


def _asked(request: HttpRequest, form: Filter) -> dict[str, Any]:
    """Return what the table shows, or why it can't."""
    selection = form.selection
    try:
        answers = in_own_loop(lambda: who_is_connected(selection, limit=LIMIT, patience=PATIENCE))
    except BackendError as error:
        return {"error": str(error)}
    return context_of(answers, may_close=may_close(request), is_filtered=bool(selection))


def _close(request: HttpRequest) -> HttpResponse:
    if not may_close(request):
        raise PermissionDenied(f"Only staff with the permission {CLOSE} may close connections.")
    form = Filter(request.POST)
    connection = request.POST.get("connection", "")[:100] or None
    selection = Selection(**form.given, connection=connection)
    back = HttpResponseRedirect(f"{request.path}{form.query}")
    if not selection:
        messages.error(request, "Filter first: this page does not close all connections at once.")
        return back
    if "confirmed" not in request.POST:
        more = {"given": form.given, "connection": connection, "back": back.url}
        return _render(request, "confirm", {**_chosen(selection), **more})
    by = f"{describe_user(request)} on the staff page"
    try:
        answers = in_own_loop(lambda: disconnect(selection, by=by, patience=PATIENCE))
    except BackendError as error:
        messages.error(request, str(error))
        return back
    closed = sum(report.closed for report in answers.reports)
    say = messages.success if closed else messages.warning
    say(request, f"Connections that are being closed: {closed}.")
    return back


def _chosen(selection: Selection) -> dict[str, Any]:
    try:
        answers = in_own_loop(lambda: who_is_connected(selection, limit=20, patience=PATIENCE))
    except BackendError as error:
        return {"error": str(error)}
    return context_of(answers, may_close=False, is_filtered=True)


def _render(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    request.current_app = admin.site.name
    more = {**admin.site.each_context(request), "title": TITLE, **context}
    return render(request, f"wsconsumer/staff/{name}.html", more)
