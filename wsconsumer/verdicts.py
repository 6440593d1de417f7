"""
What an exception means for the client: a status before ``accept()``, a close code after it.

The statuses are those that a page would have, with the same loggers and levels as in Django's
``response_for_exception()``, but no page is rendered: nobody could look at it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.http.multipartparser import MultiPartParserError

from .cancellation import consists_of
from .escaping import escape, message_of
from .log_thread import log
from .protocol import CloseCode
from .reporting import log_session_ended, report

if TYPE_CHECKING:
    from django.http import HttpRequest

    from .reporting import Requested

_KINDS: Final = (BadRequest, MultiPartParserError, SuspiciousOperation)


def status_for(consumer: Requested, hook: str, error: BaseException) -> int:
    """Return the status of the denial for what a hook raised, and log it."""
    if consists_of(error, PermissionDenied):
        return 403
    if consists_of(error, Http404):
        return 404
    if is_bad_request(error):
        log_bad_request(consumer.request, error)
        return 400
    report(consumer, hook, error)
    return 500


def close_code_for(consumer: Requested, hook: str, error: BaseException) -> CloseCode:
    """Return the close code for what a hook raised, and log it."""
    if consists_of(error, SessionInterrupted):
        log_session_ended(consumer, hook)
        return CloseCode.NOT_AUTHENTICATED
    report(consumer, hook, error)
    return CloseCode.INTERNAL_ERROR


def is_bad_request(error: BaseException) -> bool:
    """Return whether an exception, or each of a group, is 400 on a page."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_bad_request, error.exceptions))
    return isinstance(error, _KINDS)


def log_bad_request(request: HttpRequest, error: BaseException) -> None:
    """Log a bad request, and each of a group of them, as Django does for a page."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            log_bad_request(request, member)
        return
    text = message_of(error)
    is_suspicious = isinstance(error, SuspiciousOperation)
    name = f"django.security.{type(error).__name__}" if is_suspicious else "django.request"
    log(
        logging.getLogger(name),
        logging.ERROR if is_suspicious else logging.WARNING,
        "%s" if is_suspicious else "%s: %s",
        *((text,) if is_suspicious else (text, escape(request.path))),
        error=error,
        extra={"request": request, "status_code": 400},
        from_stranger=True,
    )
