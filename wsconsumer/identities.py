"""
Whom a websocket belongs to: its session, by a keyed hash of its key, and its user.

A session key is a password: what leaves this module is its hash. Everything here is read from
memory, on the event loop too: nothing is loaded and no code of the project's runs.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import salted_hmac
from django.utils.functional import empty

from .log_fields import loaded, loaded_user, pk_of

if TYPE_CHECKING:
    from django.http import HttpRequest

MAX_PK: Final = 400
"""Characters of a primary key that can name a user elsewhere; a stranger may write an order."""

IGNORED: Final = "wsconsumer_session_ignored"
"""The attribute of a request whose user came from elsewhere than its session."""


class UserKey(NamedTuple):
    """A user: the label of the model, which is ``AUTH_USER_MODEL`` in most cases, and the key."""

    model: str
    pk: str


class Login(NamedTuple):
    """Who is logged in by a session, as it was loaded: as Django keeps it there."""

    pk: str
    auth_hash: str
    backend: str


def hash_of_session(key: str) -> str:
    """Return what stands for a session key wherever it travels."""
    digest: str = salted_hmac("wsconsumer.sessions", key, algorithm="sha256").hexdigest()
    return digest[:32]


def ignore_session(request: HttpRequest) -> None:
    """Note that the user of a request came from a token: the end of a session is not theirs."""
    setattr(request, IGNORED, True)


def key_of_session(request: HttpRequest) -> str | None:
    """
    Return the key of the session that a websocket belongs to.

    There is none where the user came from elsewhere, and a cookie only happened to be there.
    """
    if getattr(request, IGNORED, False):
        return None
    session = session_of(request)
    if session is None or (login_of(session) is None and not _is_nobody(loaded_user(request))):
        return None
    # A snapshot remembers the key that it had, although a hook may have ended the session.
    return getattr(session, "handshake_key", None) or session.session_key


def session_of(request: HttpRequest) -> SessionBase | None:
    """Return Django's session of a request, unless it was never looked at."""
    session = loaded(getattr(request, "session", None))
    return session if isinstance(session, SessionBase) else None


def login_of(session: SessionBase) -> Login | None:
    """
    Return who is logged in by a session; ``None`` for nobody, or if it was not loaded.

    A snapshot remembers who it was, as it does its key.
    """
    known: Login | None = getattr(session, "handshake_login", None)
    if known is not None:
        return known
    data: dict[str, Any] = vars(session).get("_session_cache") or {}
    if SESSION_KEY not in data:
        return None
    more = (data.get(name) or "" for name in (HASH_SESSION_KEY, BACKEND_SESSION_KEY))
    return Login(data[SESSION_KEY], *more)


def key_of_user(user: object) -> UserKey | None:
    """
    Return what names a loaded user; ``None`` for one that is in no database.

    Nor is there a name for one whose key is no number, text or UUID, or a text that is too long.
    """
    model: Any = type(user)
    pk = _text(pk_of(user))
    return None if pk is None else UserKey(_label(model, settings.AUTH_USER_MODEL), pk)


def _text(pk: object) -> str | None:
    """Return the text of a primary key without running what its class may have overridden."""
    if isinstance(pk, str):
        return str.__str__(pk) if str.__len__(pk) <= MAX_PK else None
    if isinstance(pk, int):
        return int.__repr__(pk)
    return UUID.__str__(pk) if isinstance(pk, UUID) else None


@cache
def _label(model: Any, users: str) -> str:
    """Return the label of a model; those that inherit from that of the users have its label."""
    labels = [base._meta.label_lower for base in model.__mro__ if hasattr(base, "_meta")]  # noqa: SLF001  # Django's public one
    own: str = model._meta.concrete_model._meta.label_lower  # noqa: SLF001  # the same
    return users.lower() if users.lower() in labels else own


def _is_nobody(user: object) -> bool:
    """Return whether this is an anonymous user, or none that was loaded."""
    names = {base.__qualname__ for base in type(user).__mro__}
    return user is None or user is empty or "AnonymousUser" in names
