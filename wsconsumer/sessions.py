"""
Django's session, on a connection that outlives the request that loaded it.

What a consumer finds in ``request.session`` was read at the handshake. Saved hours later, it would
undo what pages have changed since, so it can be read and ended but not saved. ``fresh_session``
loads the session anew and saves it: read it first.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured

from .escaping import quote
from .exceptions import InvalidState
from .identities import login_of
from .log_thread import log

if TYPE_CHECKING:
    from types import TracebackType

    from django.http import HttpRequest

logger = logging.getLogger("wsconsumer.consumer")

_REFUSED: Final = ("save", "create", "cycle_key", "asave", "acreate", "acycle_key")


def fresh_session(request: HttpRequest) -> FreshSession:
    """
    Load the session anew, for a ``with`` or ``async with`` block that may change it.

    Leaving the block saves the session if it was modified, and makes it ``request.session``; an
    exception saves nothing. Raises ``SessionInterrupted`` if the session has ended, which closes
    the connection with 4401 if no hook catches it; ``InvalidState`` for a visitor without a
    session; ``ImproperlyConfigured`` where sessions can't be saved from a websocket.
    """
    return FreshSession(request)


class FreshSession:
    """The context manager that ``fresh_session()`` returns."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __enter__(self) -> SessionBase:
        old = _session_of(self._request)
        key = _key_of(old)
        store = store_class(old)(key)
        store.keys()  # loads it
        if store.session_key != key:
            if store.session_key is not None:
                store.delete()  # the file backend replaces a session that has expired
            raise SessionInterrupted("The session has ended since the websocket was opened.")
        self._store, self._key = store, key
        return store

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        store = self._store
        if store.session_key != self._key and not store.is_empty():
            raise InvalidState(
                "The session got another key inside fresh_session(), and a websocket can't send "
                "the client its cookie. Log in and rotate sessions on a page."
            )
        if store.modified and not store.is_empty():
            try:
                store.save()
            except UpdateError as gone:
                raise SessionInterrupted("The session ended before it was saved.") from gone
        if is_snapshot(self._request.session):
            make_snapshot(store, self._key)
        self._request.session = store

    async def __aenter__(self) -> SessionBase:
        return await sync_to_async(self.__enter__)()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await sync_to_async(self.__exit__)(kind, error, traceback)


def _session_of(request: HttpRequest) -> SessionBase:
    session = getattr(request, "session", None)
    if not isinstance(session, SessionBase):
        raise ImproperlyConfigured(
            f"fresh_session() expects a request with Django's session, got {quote(session)}. Add "
            "django.contrib.sessions.middleware.SessionMiddleware to MIDDLEWARE, or give "
            'scope["session"] to as_asgi().'
        )
    if isinstance(session, SignedCookies):
        raise ImproperlyConfigured(
            "fresh_session() can't save a session of signed_cookies: it lives in the client's "
            "cookie, which an open websocket can't set. Use another SESSION_ENGINE, such as "
            "django.contrib.sessions.backends.db, or a model of your own."
        )
    return session


def _key_of(session: SessionBase) -> str:
    if session.session_key is not None:
        return session.session_key
    if getattr(session, "handshake_key", None) is not None:
        raise SessionInterrupted("The session has ended since the websocket was opened.")
    raise InvalidState(
        "fresh_session() needs a session, and this visitor has none. Create it on a page: an open "
        "websocket can't send the client its cookie."
    )


def store_class(session: SessionBase) -> type[SessionBase]:
    """Return the project's class of a session, which may be a snapshot or lazy."""
    kind: type[SessionBase] = session.__class__
    return getattr(kind, "snapshot_of", kind)


# Snapshots.


def make_snapshot(session: SessionBase, key: str | None) -> None:
    """Let a session be read and ended, but not be saved, from now on."""
    session.__class__ = _snapshot_class(type(session))
    session.handshake_key = key  # type: ignore[attr-defined]  # of the class we gave it
    session.handshake_login = login_of(session)  # type: ignore[attr-defined]  # the same
    session.modified = False


def is_snapshot(session: object) -> bool:
    """Return whether a session is one that can't be saved."""
    return hasattr(type(session), "snapshot_of")


@cache
def _snapshot_class(kind: type[SessionBase]) -> type[SessionBase]:
    """Return a subclass of a session class for what was read at the handshake."""

    def load(self: Any) -> dict[str, Any]:
        # In a store of its own: those of Django create another session in place of a bad one.
        store = kind(self.session_key)
        data: dict[str, Any] = store.load()
        self._session_key = store.session_key
        return data

    async def aload(self: Any) -> dict[str, Any]:
        store = kind(self.session_key)
        data: dict[str, Any] = await store.aload()
        self._session_key = store.session_key
        return data

    # By its qualified name Django finds the salt.
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    refused = {name: _refusal(name) for name in _REFUSED}
    members = {**names, **refused, "load": load, "aload": aload, "snapshot_of": kind}
    return type(kind.__name__, (kind,), members)


def _refusal(name: str) -> Any:
    """Return a method that refuses at once, also where an ``await`` was forgotten."""

    def refuse(self: object, *args: object, **kwargs: object) -> None:
        raise InvalidState(
            f"request.session.{name}() would save what was read at the handshake over what pages "
            "have changed since. Write: async with "
            "wsconsumer.sessions.fresh_session(self.request) as session: ..."
        )

    refuse.__name__ = name
    return refuse


_warned: WeakSet[type] = WeakSet()


def warn_if_changed(consumer: object, request: HttpRequest) -> None:
    """Say once for each class of consumers that changes of its session are lost."""
    session: Any = getattr(request, "session", None)
    if not is_snapshot(session) or not session.modified or session.is_empty():
        return
    if type(consumer) not in _warned:
        _warned.add(type(consumer))
        log(
            logger,
            logging.WARNING,
            "%s changed request.session, and the change is lost: it was read at the handshake and "
            "can't be saved. Change it in wsconsumer.sessions.fresh_session(self.request).",
            type(consumer).__name__,
        )
