"""
Closing the websockets of a user or of a session, on every process.

``disconnect_user()`` and ``disconnect_session()`` tell an order. Each event loop gathers those that
come and looks once through its websockets for all of them, a slice at a time: read ``Search``.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import SynchronousOnlyOperation, ValidationError
from django.db.models import Model
from django.utils.functional import LazyObject
from msgspec import Meta

from . import refusals
from .connection.monitor import monitor
from .counters import counters
from .escaping import quote
from .groups.loading import sync_backend
from .groups.memory import MemoryBackend
from .groups.orders import Order, atell, heard_by, tell
from .identities import MAX_PK, UserKey, hash_of_session, key_of_session, key_of_user
from .log_fields import loaded_user
from .log_thread import log
from .loops import PerLoop, in_event_loop, start_task
from .protocol import CloseCode, ConnectionState, check_close
from .refusals import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("wsconsumer.consumer")

GATHER: Final = 0.05
"""Seconds from one search to the next: what is ordered meanwhile is searched for together."""

REST: Final = 4
"""
How many times as long as a search the pause after it is, at least.

Somebody who logs in and out in a loop has everybody's websockets looked through.
"""

SLICE: Final = 200
"""Websockets that are looked at in one turn of the event loop."""


CLOSABLE: Final = (ConnectionState.CONNECTING, ConnectionState.OPEN)
"""The states in which a connection can be closed."""


# What is remembered of an order is bounded: a stranger may have written it.

Label = Annotated[str, Meta(max_length=200)]
PrimaryKey = Annotated[str, Meta(max_length=MAX_PK)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class DisconnectUser(Order, frozen=True):
    """Close the websockets of a user."""

    model: Label
    pk: PrimaryKey
    code: int
    reason: str


class DisconnectSession(Order, frozen=True):
    """Close the websockets of a session, and refuse it for a minute."""

    hash: Hash
    code: int
    reason: str


# The functions for everybody.


def disconnect_user(
    user: Any, *, code: int = CloseCode.DISCONNECTED.value, reason: str = ""
) -> None:
    """
    Close all websockets of a user, in every process that the engine of the groups reaches.

    ``user``: an instance, or the primary key of one of ``AUTH_USER_MODEL``. ``code`` and ``reason``
    are what the clients get: after 4501 ours stay away, after 4401 they come back once. It closes
    what is open, and whose handshake is under way; what keeps a user out is the handshake.

    Raises ``BackendError`` if the engine does not take it, ``TypeError`` or ``ValueError`` for what
    is no user that was saved, and ``SynchronousOnlyOperation`` where an event loop runs: there it
    is ``adisconnect_user()``.
    """
    _refuse_in_loop("disconnect_user", "user")
    _tell(order_for_user(user, code, reason))


async def adisconnect_user(
    user: Any, *, code: int = CloseCode.DISCONNECTED.value, reason: str = ""
) -> None:
    """Do what ``disconnect_user()`` does, from async code."""
    # In a thread, since a lazy user is loaded, and a primary key is read by its field.
    await _atell(await sync_to_async(order_for_user)(user, code, reason))


def disconnect_session(
    session_key: str, *, code: int = CloseCode.DISCONNECTED.value, reason: str = ""
) -> None:
    """
    Close all websockets of a session, in every process that the engine of the groups reaches.

    Each of them also refuses the session for the next minute, so end it: its handshakes are let in
    again afterwards. ``session_key``: as in ``request.session.session_key``. Arguments and errors
    are those of ``disconnect_user()``.
    """
    _refuse_in_loop("disconnect_session", "session_key")
    _tell(order_for_session(session_key, code, reason))


async def adisconnect_session(
    session_key: str, *, code: int = CloseCode.DISCONNECTED.value, reason: str = ""
) -> None:
    """Do what ``disconnect_session()`` does, from async code."""
    await _atell(order_for_session(session_key, code, reason))


def order_for_user(user: Any, code: int, reason: str) -> DisconnectUser:
    """Return the order to close the websockets of a user, or raise what is wrong with it."""
    check_close(code, reason, "disconnect_user()")
    if isinstance(user, LazyObject):
        bool(user)  # loads it
        user = vars(user)["_wrapped"]
    key = key_of_user(user) if isinstance(user, Model) else _key_of_pk(user)
    if key is None:
        raise ValueError(
            "disconnect_user() expects a user that was saved, whose primary key is an int, a UUID "
            f"or a str of at most {MAX_PK} characters, got a {type(user).__name__} without one."
        )
    return DisconnectUser(key.model, key.pk, int(code), reason)


def _key_of_pk(pk: object) -> UserKey:
    if isinstance(pk, bool) or not isinstance(pk, int | str | UUID):
        raise TypeError(
            "disconnect_user() expects a user or a primary key (int, str or UUID), got "
            f"{quote(pk)}. For somebody who is not logged in there is disconnect_session()."
        )
    field: Any = get_user_model()._meta.pk  # noqa: SLF001  # Django's public one
    try:
        value = field.to_python(pk)
    except ValidationError as error:
        raise ValueError(
            f"disconnect_user() got {quote(pk)}, which is no primary key of "
            f"{settings.AUTH_USER_MODEL}: {' '.join(error.messages)} Pass the user, or its "
            "primary key."
        ) from None
    if len(str(value)) > MAX_PK:
        raise ValueError(
            f"disconnect_user() expects a primary key of at most {MAX_PK} characters, got one of "
            f"{len(str(value))}."
        )
    return UserKey(settings.AUTH_USER_MODEL.lower(), str(value))


def order_for_session(session_key: str, code: int, reason: str) -> DisconnectSession:
    """Return the order to close the websockets of a session, or raise what is wrong with it."""
    check_close(code, reason, "disconnect_session()")
    if session_key is None:
        raise TypeError(
            "disconnect_session() expects a session key, a str, got None. A visitor whose session "
            "was never saved has no key, and no websocket that is found by it."
        )
    if not isinstance(session_key, str):
        raise TypeError(
            "disconnect_session() expects a session key, a str, got "
            f"{type(session_key).__name__}. Write request.session.session_key."
        )
    if not session_key:
        raise ValueError("disconnect_session() expects a session key, got an empty str.")
    return DisconnectSession(hash_of_session(session_key), int(code), reason)


def _refuse_in_loop(name: str, argument: str) -> None:
    if in_event_loop():
        raise SynchronousOnlyOperation(
            f"{name}() may wait for the engine behind the groups, and can't be called where an "
            f"event loop runs. Write `await a{name}({argument})`."
        )


def _tell(order: Order) -> None:
    _explain_if_alone()
    tell(order)


async def _atell(order: Order) -> None:
    _explain_if_alone()
    await atell(order)


def _explain_if_alone() -> None:
    backend = sync_backend()
    if isinstance(backend, MemoryBackend):
        backend.explain_if_alone("disconnect_user() or disconnect_session() was called")


# What each event loop does.


class Search:
    """Looks through the websockets of an event loop for those that were ordered to be closed."""

    def __init__(self) -> None:
        self._wanted: dict[str | UserKey, Verdict] = {}
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def begin(self, key: str | UserKey, verdict: Verdict) -> None:
        """Search for a user, or for the hash of a session, soon."""
        self._wanted[key] = verdict
        if self._task is None:
            self._task = start_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._wanted:
                await asyncio.sleep(max(0, self._not_before - loop.time()))
                wanted, self._wanted = self._wanted, {}
                took = await self._look_for(wanted)
                self._not_before = loop.time() + max(GATHER, REST * took)
        finally:
            self._task = None

    async def _look_for(self, wanted: Mapping[str | UserKey, Verdict]) -> float:
        """Look once; return the seconds of the event loop that it took."""
        watching, took, began = monitor(), 0.0, perf_counter()
        for number, session in enumerate(watching.sessions, 1):
            if watching.is_watching(session) and session.connection.state in CLOSABLE:
                self._look_at(session, wanted)
            if number % SLICE == 0:
                took += perf_counter() - began
                await asyncio.sleep(0)
                began = perf_counter()
        return took + perf_counter() - began

    def _look_at(self, session: Any, wanted: Mapping[str | UserKey, Verdict]) -> None:
        try:
            verdict = _verdict_on(session, wanted)
        except Exception as error:  # noqa: BLE001  # an engine of sessions may be the project's
            # The others are to be found all the same.
            text = "%s: a disconnected user or session can't be told from others."
            owner = session.connection.owner
            log(logger, logging.ERROR, text, owner, error=error, from_stranger=True)
            return
        if verdict is not None:
            close(session, verdict.code, verdict.reason, "disconnected")


def _verdict_on(session: Any, wanted: Mapping[str | UserKey, Verdict]) -> Verdict | None:
    request = session.consumer.request
    user = key_of_user(loaded_user(request))
    if user is not None and user in wanted:
        return wanted[user]
    key = key_of_session(request)
    return None if key is None else wanted.get(session.hash_of(key))


def close(session: Any, code: int, reason: str, counter: str) -> None:
    """Close the connection of a session from outside: once it is accepted, if it is not yet."""
    watching, connection = monitor(), session.connection
    if connection.state is ConnectionState.CONNECTING:
        now = connection.loop.time()
        watching.deadlines.add(connection, now, code, reason, counter)
    else:
        counters[counter] += watching.closing.close(connection, code, reason)


_searches = PerLoop(Search)


def _obey_user(order: DisconnectUser) -> None:
    check_close(order.code, order.reason, "DisconnectUser")  # an order is not to be trusted
    key = UserKey(order.model, order.pk)
    verdict = Verdict(monotonic(), order.code, order.reason)
    refusals.users.add(key, verdict)
    _searches.get().begin(key, verdict)


def _obey_session(order: DisconnectSession) -> None:
    check_close(order.code, order.reason, "DisconnectSession")
    verdict = Verdict(monotonic(), order.code, order.reason)
    refusals.sessions.add(order.hash, verdict)
    _searches.get().begin(order.hash, verdict)


heard_by(DisconnectUser, _obey_user)
heard_by(DisconnectSession, _obey_session)
