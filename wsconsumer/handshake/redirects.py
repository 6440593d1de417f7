"""
A redirect as an answer to a handshake: a denial that says nothing to who looks at it.

A page follows it; a websocket can't, and a browser's only says 1006. So the log says where it leads
and why, as far as that can be told.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME

from ..escaping import escape
from ..log_thread import log

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

logger = logging.getLogger("wsconsumer.handshake")


def log_redirect(request: HttpRequest, response: HttpResponseBase) -> None:
    """Log where a denial leads, if it leads anywhere."""
    target = response.headers.get("Location")
    if target is None:
        return
    log(
        logger,
        logging.WARNING,
        "Refused a websocket on %s with %d: a websocket can't follow the redirect to %s%s.",
        escape(request.path),
        response.status_code,
        escape(target.partition("?")[0]),  # a query may have the token of who asked in it
        _reason(request, target),
        extra={"request": request, "status_code": response.status_code},
        from_stranger=True,
    )


def _reason(request: HttpRequest, target: str) -> str:
    url = urlsplit(target)
    if url.path == f"{request.path}/":
        return "; its path lacks the slash at the end"
    if REDIRECT_FIELD_NAME in parse_qs(url.query):
        return "; the user is not logged in, or may not do this"
    if url.scheme == "https" and not request.is_secure() and url.path == request.path:
        return "; it has to be secure, so open it as wss://"
    return ""
