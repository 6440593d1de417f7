"""
What is told of one connection: only what is known without running any of the project's own code.

Of a session's key it is a keyed hash, since whoever has the key has the session.
"""

from __future__ import annotations

import logging
from itertools import count, islice
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from django.contrib.sessions.backends.base import SessionBase
from django.utils.functional import empty

from ..escaping import quote
from ..identities import hash_of_session
from ..log_fields import label_of, loaded_user, pk_of
from ..log_thread import log
from ..loops import PerLoop
from ..servers import server_of

if TYPE_CHECKING:
    from django.http import HttpRequest

    from ..connection.monitor import Watched
    from ..metrics import Measure

logger = logging.getLogger("wsconsumer.groups")

MAX_PATH: Final = 300
"""Characters that are told of a path, which a stranger chose."""

MAX_GROUPS: Final = 20
"""Groups of a connection that are told; of others, only how many they are."""

SHOWN: Final = 12
"""Characters that are told of the hash of a session's key."""


class Facts(msgspec.Struct, frozen=True):
    """
    One connection.

    ``id`` names it in all processes. ``user`` is the primary key of its user; ``who`` says in words
    what is there instead of one. ``age`` is in seconds. ``groups`` are the first of its
    ``group_count`` groups. ``outbox`` is what waits for a slow client, in bytes. ``hook`` is the
    event that a hook works at, without the ``websocket.``; empty if none does. ``received`` and
    ``sent`` are messages a second from and to the client, on average since it came; ``None`` unless
    ``WSCONSUMER["METRICS"]`` counts them.
    """

    id: str
    consumer: str
    path: str
    user: str | None = None
    who: str = ""
    session: str | None = None
    age: float = 0.0
    groups: tuple[str, ...] = ()
    group_count: int = 0
    outbox: int = 0
    state: str = ""
    hook: str = ""
    server: str = ""
    received: float | None = None
    sent: float | None = None


def facts_of(session: Watched, now: float) -> Facts:
    """Return what is told of a connection; ``now`` by its loop's clock."""
    connection, consumer, member = session.connection, session.consumer, session.member
    request, path = consumer.request, consumer.request.path
    user, who = user_of(request)
    key = session_hash(request)
    groups = () if member is None else member.groups
    age = now - session.began
    received, sent = _rates(session.account.measure, age)
    return Facts(
        id=id_of(session),
        consumer=label_of(type(consumer)),
        path=_sendable(path if len(path) <= MAX_PATH else f"{path[:MAX_PATH]}..."),
        user=user,
        who=who,
        session=None if key is None else key[:SHOWN],
        age=round(age, 1),
        groups=tuple(islice(groups, MAX_GROUPS)),
        group_count=len(groups),
        outbox=0 if member is None else member.waiting_bytes,
        state=connection.state.value,
        hook="" if session.handling is None else session.handling["type"].rpartition(".")[2],
        server=server_of(connection.server_send),
        received=received,
        sent=sent,
    )


def _rates(measure: Measure | None, age: float) -> tuple[float | None, float | None]:
    """Return messages a second, in and out; those of the first second count as one second's."""
    if measure is None:
        return None, None
    seconds = max(age, 1.0)
    out = measure.messages_sent + measure.deliveries
    return round(measure.messages_received / seconds, 2), round(out / seconds, 2)


_loops: PerLoop[str] = PerLoop(lambda: token_hex(4))


def loop_name() -> str:
    """Return a name of the running event loop that no other has, in any process."""
    return _loops.get()


_ids: PerLoop[WeakKeyDictionary[Any, str]] = PerLoop(WeakKeyDictionary)
_numbers: Final = count(1)


def id_of(session: Watched) -> str:
    """Return a name that no other connection has, in any process; made when it is first asked."""
    ids = _ids.get()
    found = ids.get(session)
    if found is None:
        found = ids[session] = f"{loop_name()}-{next(_numbers)}"
    return found


def user_of(request: HttpRequest) -> tuple[str | None, str]:
    """Return the primary key of a request's user, or ``None`` and what there is instead."""
    user = loaded_user(request)
    if user is None:
        return None, "no user"
    if user is empty:
        return None, "not loaded"
    pk = pk_of(user)
    if pk is None:
        name = type(user).__name__
        return None, "anonymous" if name == "AnonymousUser" else name
    return text_of(pk), ""


def text_of(pk: object) -> str:
    """Return a primary key as text, as it is written in a URL of the admin."""
    if type(pk) is str or type(pk) is UUID:
        return _sendable(str(pk))
    return quote(pk)


def _sendable(text: str) -> str:
    """Return a text without what UTF-8 can't say, which a path may have, say."""
    return text.encode(errors="backslashreplace").decode()


def session_hash(request: HttpRequest) -> str | None:
    """Return the keyed hash of a request's session key; ``None`` for a visitor without one."""
    session = getattr(request, "session", None)
    if not issubclass(type(session), SessionBase):
        return None
    try:
        key = getattr(session, "handshake_key", None) or session.session_key  # type: ignore[union-attr]  # it is one
    except Exception as error:  # noqa: BLE001  # an engine of sessions may be the project's
        # The others are to be told of all the same, and so is the rest of this one.
        log(
            logger, logging.ERROR, "A session's key can't be read.", error=error, from_stranger=True
        )
        return None
    return None if key is None else hash_of_session(key)
