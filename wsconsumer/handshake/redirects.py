"""
A redirect as an answer to a handshake: a denial that says nothing to who looks at it.

A page follows it; a websocket can't, and a browser's only says 1006. So the log says where it leads
and why, as far as that can be told. Where ``SECURE_SSL_REDIRECT`` leads a client to the URL that it
has asked for, a proxy did not say that it came by https.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME

from ..escaping import escape
from .advice import header_name, secure_header

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

    from .request import WebsocketRequest


def explain_redirect(request: WebsocketRequest, response: HttpResponseBase) -> str | None:
    """Return where a denial leads, and why; ``None`` if it leads nowhere."""
    target = response.headers.get("Location")
    if target is None:
        return None
    if settings.SECURE_SSL_REDIRECT and _seems_secure(request) and target == _own_url(request):
        return (
            "SECURE_SSL_REDIRECT sends it to https, but that is how it seems to have come: "
            f"{_how_to_tell_the_scheme(request)}"
        )
    # A query may have the token of who asked in it.
    shown = escape(target.partition("?")[0])
    return f"a websocket can't follow the redirect to {shown}{_reason(request, target)}"


def _own_url(request: WebsocketRequest) -> str:
    return f"https://{settings.SECURE_SSL_HOST or request.get_host()}{request.get_full_path()}"


def _reason(request: WebsocketRequest, target: str) -> str:
    url = urlsplit(target)
    if url.path == f"{request.path}/":
        return "; its path lacks the slash at the end"
    if REDIRECT_FIELD_NAME in parse_qs(url.query):
        return "; the user is not logged in, or may not do this"
    if url.scheme == "https" and not request.is_secure() and url.path == request.path:
        return "; it has to be secure, so open it as wss://"
    return ""


def _seems_secure(request: WebsocketRequest) -> bool:
    """Return whether the page came by https, or a proxy says that the websocket did."""
    origin: str = request.META.get("HTTP_ORIGIN", "")
    forwarded: str = request.META.get("HTTP_X_FORWARDED_PROTO", "")
    return origin.startswith("https:") or forwarded.startswith(("https", "wss"))


def _how_to_tell_the_scheme(request: WebsocketRequest) -> str:
    if header := secure_header(request):
        return f"{header_name(header)} is '{escape(request.META[header])}', and should be 'https'"
    if settings.SECURE_PROXY_SSL_HEADER:
        name = header_name(settings.SECURE_PROXY_SSL_HEADER[0])
        return f"let the proxy set it (nginx: proxy_set_header {name} $scheme)"
    if "HTTP_X_FORWARDED_PROTO" in request.META:
        return "set SECURE_PROXY_SSL_HEADER to X-Forwarded-Proto if the proxy always sets that"
    return (
        "set SECURE_PROXY_SSL_HEADER, and let the proxy say so (nginx: proxy_set_header "
        "X-Forwarded-Proto $scheme)"
    )
