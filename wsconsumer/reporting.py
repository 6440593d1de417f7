"""What a hook raised, told to the log and to error trackers, and never to the client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from asgiref.sync import sync_to_async
from django.core.signals import got_request_exception
from django.utils.functional import LazyObject, empty

from .cancellation import Cause
from .counters import counters

if TYPE_CHECKING:
    from django.http import HttpRequest

    class Requested(Protocol):
        """A consumer, or whatever else has a request."""

        request: HttpRequest


logger = logging.getLogger("wsconsumer.consumer")


async def report(consumer: Requested, hook: str, error: BaseException) -> None:
    """Log, count and signal an exception that came out of a hook."""
    request = consumer.request
    counters["hook_failed"] += 1
    logger.error(
        "%s.%s() failed on %s for %s",
        type(consumer).__name__,
        hook,
        request.path,
        describe_user(request),
        exc_info=error,
        extra={"request": request, "status_code": 500},
    )
    # In a thread like Django's own, and with sys.exc_info(), which error trackers read.
    send = sync_to_async(got_request_exception.send_robust)
    await send(sender=type(consumer), request=request)


def log_cancelled(consumer: Requested, hook: str, cause: Cause) -> None:
    """Log that a hook was cancelled; one that took too long was named before."""
    counters["hook_interrupted"] += 1
    if cause is Cause.CLIENT_LEFT:
        logger.info("%s on %s was cancelled: the client has left.", hook, consumer.request.path)


def log_overdue(consumer: Requested, seconds: float) -> None:
    """Log that a hook goes on although its connection has ended."""
    logger.warning(
        "%s: a hook on %s still runs %d seconds after the end of its connection; cancelling it. "
        "Work that should outlive the connection belongs in a task of its own.",
        type(consumer).__name__,
        consumer.request.path,
        seconds,
    )


def log_closed(consumer: Requested, hook: str, error: BaseException) -> None:
    """Log that a hook met the end of its connection, which is no fault."""
    cause = "" if error.__cause__ is None else f" Cause: {error.__cause__!r}"
    logger.info("%s on %s: %s%s", hook, consumer.request.path, error, cause)


def log_dropped(owner: str, messages: int) -> None:
    """Log and count messages that no hook saw."""
    counters["message_dropped"] += messages
    logger.info("%s: dropped %d messages that arrived after the close.", owner, messages)


def describe_user(request: HttpRequest) -> str:
    """
    Return words for the user of a request, without running any of the project's own code.

    A project's ``__str__`` may ask the database, which is an error in async code.
    """
    user = getattr(request, "user", None)
    if isinstance(user, LazyObject):
        user = vars(user).get("_wrapped")
    if user is None:
        return "no user"
    if user is empty:
        return "a user that was not loaded"
    meta = getattr(type(user), "_meta", None)
    if meta is not None:
        return f"user {vars(user).get(meta.pk.attname)!r}"
    return f"a user of type {type(user).__name__}"
