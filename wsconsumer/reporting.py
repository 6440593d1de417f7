"""What a hook raised, told to the log and to error trackers, and never to the client."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from django.conf import settings
from django.core.signals import got_request_exception
from django.utils.functional import empty

from .cancellation import Cause
from .counters import counters
from .escaping import escape, message_of, quote
from .hints import add_hint
from .limits import CONNECTION_LIMITS
from .log_fields import loaded_user, user_id
from .log_thread import log
from .protocol import CloseCode
from .waiting import describe_frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from django.http import HttpRequest

    class Requested(Protocol):
        """A consumer, or whatever else has a request."""

        request: HttpRequest


logger = logging.getLogger("wsconsumer.consumer")


def report(consumer: Requested, hook: str, error: BaseException) -> None:
    """Count an exception that came out of a hook; signal and log it in the thread for the log."""
    request = consumer.request
    counters["hook_failed"] += 1
    add_hint(consumer, error)
    log(
        logger,
        logging.ERROR,
        "%s.%s() failed on %s for %s",
        type(consumer).__name__,
        hook,
        escape(request.path),
        describe_user(request),
        error=error,
        extra={"request": request, "status_code": 500},
        signal=partial(_signal, type(consumer), request, error),
    )


def _signal(sender: type, request: HttpRequest, error: BaseException) -> None:
    """Send the signal that error trackers listen to; they read ``sys.exc_info()``."""
    traceback = error.__traceback__
    try:
        raise error
    except BaseException:  # noqa: BLE001  # it was raised to be looked at
        got_request_exception.send_robust(sender=sender, request=request)
    finally:
        # Our frame would hold the exception that holds it.
        error.__traceback__ = traceback


_ENDED: Final = {
    Cause.CLIENT_LEFT: "the client has left",
    Cause.CLOSED: "the connection was closed while it ran",
}


def log_cancelled(consumer: Requested, hook: str, cause: Cause) -> None:
    """Log that a hook was cancelled; one that took too long was named before."""
    if cause is Cause.UNDECIDED:
        return
    counters["hook_interrupted"] += 1
    why = _ENDED.get(cause)
    if why is not None:
        logger.info("%s on %s was cancelled: %s.", hook, escape(consumer.request.path), why)


def log_overdue(consumer: Requested, seconds: float) -> None:
    """Log that a hook goes on although its connection has ended."""
    log(
        logger,
        logging.WARNING,
        "%s: a hook on %s still runs %d seconds after the end of its connection; cancelling it. "
        "Work that should outlive the connection belongs in a task of its own.",
        type(consumer).__name__,
        escape(consumer.request.path),
        seconds,
    )


def log_closed(consumer: Requested, hook: str, error: BaseException) -> None:
    """Log that a hook met the end of its connection, which is no fault."""
    text, cause = message_of(error), error.__cause__
    if cause is not None:
        text += f" Cause: {type(cause).__name__}: {message_of(cause)}"
    logger.info("%s on %s: %s", hook, escape(consumer.request.path), text)


def log_session_ended(consumer: Requested, hook: str) -> None:
    """Log that a hook met the end of its user's session, which is no fault."""
    logger.info("%s on %s: the session has ended.", hook, escape(consumer.request.path))


def log_dropped(owner: str, messages: int) -> None:
    """Log and count messages that no hook saw."""
    counters["message_dropped"] += messages
    logger.info("%s: messages dropped that arrived after the close: %d.", owner, messages)


_ignoring: WeakSet[type] = WeakSet()


def log_ignored(consumer: Requested, hook: str) -> None:
    """Say once for each class that a message came which nothing handles."""
    if type(consumer) not in _ignoring:
        _ignoring.add(type(consumer))
        log(
            logger,
            logging.WARNING if settings.DEBUG else logging.INFO,
            "%s on %s ignores a message, and others like it: write `async def %s` to handle them.",
            type(consumer).__name__,
            escape(consumer.request.path),
            hook,
            from_stranger=True,
        )


def log_too_big(consumer: Requested) -> None:
    """Log and count a connection that ended because a message was too long for somebody."""
    counters["message_too_big"] += 1
    log(
        logger,
        logging.WARNING,
        "%s on %s was closed with 1009: a message was too big. What clients send is limited by "
        "max_message_size and by the server (daphne --websocket-max-message-size, uvicorn "
        "--ws-max-size, hypercorn --websocket-max-message-size), what they get by their own "
        "library.",
        type(consumer).__name__,
        escape(consumer.request.path),
        extra={"code": CloseCode.MESSAGE_TOO_BIG.value},
        from_stranger=True,
    )


def log_undecided(consumer: Requested, seconds: float | None, frames: Sequence[FrameType]) -> None:
    """Log and count a ``connect()`` that did not decide in time."""
    counters["connect_timed_out"] += 1
    log(
        logger,
        logging.WARNING,
        "%s.connect() on %s has not decided within %g seconds (connect_timeout); denying with 503. "
        "What takes long belongs behind accept(), and what goes on into spawn(), without await. It "
        "waits here:\n%s",
        type(consumer).__name__,
        escape(consumer.request.path),
        seconds,
        describe_frames(frames),
        extra={"request": consumer.request, "status_code": 503},
        from_stranger=True,
    )


def log_rate(consumer: Requested, rate: str) -> None:
    """Log and count a connection whose client sent too many messages."""
    counters["rate_limited"] += 1
    log(
        logger,
        logging.WARNING,
        "%s on %s: closing with 4429, the client sent more than %s (%s).",
        type(consumer).__name__,
        escape(consumer.request.path),
        rate,
        describe_user(consumer.request),
        extra={"request": consumer.request, "code": CloseCode.RATE_LIMITED.value},
        from_stranger=True,
    )


def log_crowd(consumer: Requested) -> None:
    """Log and count a connection that was one too many for its user or its address."""
    counters["crowd_refused"] += 1
    limits = {name: getattr(consumer, name) for name in CONNECTION_LIMITS}
    log(
        logger,
        logging.WARNING,
        "%s on %s: refused with 429, there are too many connections of the client (%s; %s).",
        type(consumer).__name__,
        escape(consumer.request.path),
        describe_user(consumer.request),
        ", ".join(f"{name} is {limit}" for name, limit in limits.items() if limit is not None),
        extra={"request": consumer.request, "status_code": 429},
        from_stranger=True,
    )


def describe_user(request: HttpRequest) -> str:
    """
    Return words for the user of a request, without running any of the project's own code.

    A project's ``__str__`` may ask the database, which is an error in async code.
    """
    user = loaded_user(request)
    if user is None:
        return "no user"
    if user is empty:
        return "a user that was not loaded"
    if hasattr(type(user), "_meta"):
        return f"user {quote(user_id(request))}"
    return f"a user of type {type(user).__name__}"
