"""
``WebsocketConsumer``: hooks to override, verbs to call, facts to read, and nothing else.

The class belongs to its user. In an instance, only one slot is ours,
``_wsconsumer``, with the session that runs it: read ``session.py`` for what happens when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, final

from django.core.exceptions import ImproperlyConfigured

from .exceptions import InvalidState, WsconsumerError
from .groups.envelope import event_of
from .handshake.views import ConsumerView
from .hints import too_early
from .hooks import check_hooks
from .limits import Limits, check_limits
from .misnomers import check_names, keep_facts
from .protocol import CloseCode, ConnectionState, RawHeaders
from .reporting import log_ignored
from .session import Session

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Sequence

    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

    from .connection.connection import Connection
    from .protocol import Event, Header, Receive, Scope, Send


class WebsocketConsumer(Limits, ConsumerView):
    """
    Subclass this, override the hooks, and map ``YourConsumer.as_view()`` in ``urls.py``.

    Each connection gets an instance of its own. ``receive()`` is called in order, one message at a
    time; ``disconnect()`` runs exactly once for every connection that was accepted.
    """

    _wsconsumer: Session
    """Reserved: every other name is yours."""

    def __new__(cls, **initkwargs: Any) -> Self:
        consumer = super().__new__(cls)
        consumer._wsconsumer = Session()
        return consumer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_names(cls)
        check_hooks(cls)
        check_limits(cls)

    # Hooks: override these.

    async def connect(self) -> None:
        """
        Override to decide on the connection: ``accept()``, ``reject()``, or raise
        ``PermissionDenied`` or ``Http404``. Return without a decision, and it is accepted.
        """

    async def receive(self, data: str | bytes) -> None:
        """Override to handle a message: ``str`` for text, ``bytes`` for binary. Ignored as is."""
        if type(self).receive is WebsocketConsumer.receive:
            log_ignored(self, "receive(self, data)")

    async def disconnect(self, code: int, reason: str) -> None:
        """
        Override to clean up: the connection is closed, with this close code and reason.

        The code is ours if ``close()`` came first, 1005 if the client sent none, 1006 if it
        vanished, 1012 if the server stops. Does nothing as is.
        """

    async def group_message(self, group: str, data: Any) -> None:
        """
        Override to handle what is broadcast to a group: ``str``, ``bytes``, or what JSON gives.

        Runs beside ``receive()``, one message at a time, in order. As is, the client gets it, by a
        shorter way than through here.
        """
        await self.send(data)

    async def group_reset(self, group: str) -> None:
        """
        Override to send the state anew where a group that keeps can't say what the client missed.

        As is, a client that speaks ``wsconsumer.v1`` is told to reload, and others hear nothing.
        """

    # Verbs: call these.

    async def accept(self, subprotocol: str | None = None, headers: RawHeaders = ()) -> None:
        """
        Complete the opening handshake.

        ``subprotocol``: one of those the client offers (``scope["subprotocols"]``), or ``None``.
        Where it sent a token behind ``WSCONSUMER["AUTHORIZATION_SUBPROTOCOL"]``, that name may be
        chosen too, and ``None`` means it.
        ``headers``: more headers for the 101 response, pairs of ``str`` or ``bytes`` (latin-1).
        Raises ``InvalidState`` if there was a decision before, ``ConnectionClosed`` if the client
        has left, ``TypeError`` or ``ValueError`` for what can't be sent.
        """
        connection = self._wsconsumer.connection
        connection.check_loop("accept()")
        await connection.accept(subprotocol, headers)
        self._wsconsumer.on_accepted()

    async def reject(
        self, status: int = 403, body: str | bytes = "", headers: RawHeaders = ()
    ) -> None:
        """
        Refuse the opening handshake with an HTTP status from 300 to 599, and a body and headers.

        Where the server has no denial response (the ASGI extension ``websocket.http.response``)
        the client gets a bare 403. Raises ``InvalidState`` if there was a decision before,
        ``TypeError`` or ``ValueError`` for what can't be sent.
        """
        connection = self._wsconsumer.connection
        connection.check_loop("reject()")
        await connection.reject(status, body, headers)

    async def send(self, data: Any) -> None:
        """
        Send one message: ``str`` as text, ``bytes`` as binary, anything else as JSON.

        Raises ``InvalidState`` before ``accept()``, ``ConnectionClosed`` after ``close()`` or once
        the client has gone, ``TypeError`` for what JSON can't say, ``ValueError`` for text that
        UTF-8 can't say. In ``disconnect()`` it does nothing.
        """
        # Straight to the server: each coroutine between would cost a quarter of the raw loop.
        connection = self._wsconsumer.connection
        emit = connection.emit
        if emit is None:
            self._wsconsumer.refuse_send()
            return
        try:
            if isinstance(data, str):
                await emit({"type": "websocket.send", "text": data})
                return
            if isinstance(data, bytes):
                await emit({"type": "websocket.send", "bytes": data})
                return
        except WsconsumerError:
            raise
        except Exception as error:
            raise connection.send_error(data) from error
        # Encoded out here, where an error is not the server's.
        await _send_event(connection, event_of(data, f"{type(self).__name__}.send()"))

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """
        Close the connection. Once it is closing or closed, this does nothing.

        ``code``: 1000-1003, 1007-1014 or 3000-4999 (RFC 6455 section 7.4), else ``ValueError``.
        ``reason``: up to 123 bytes of UTF-8. Before ``accept()`` there is no websocket to close: it
        is ``reject()``, and an error (``InvalidState``) with a code or reason, which would be lost.
        """
        await self._wsconsumer.close(code, reason)

    async def join(self, group: str, *, resume: bool = True) -> None:
        """
        Get what is broadcast to a group, from now on until ``leave()`` or the end.

        A group is a name of 1 to 200 printable characters, else ``TypeError`` or ``ValueError``.
        Joining twice is joining once. What comes before ``accept()`` is sent after it. Where the
        group keeps and a client that speaks ``wsconsumer.v1`` says where it was, it first gets what
        it missed; not with ``resume=False``. Raises
        ``TooManyGroups`` beyond ``max_groups``, ``ConnectionClosed`` once it is closing.
        """
        await self._wsconsumer.join(group, resume=resume)

    async def leave(self, group: str) -> None:
        """
        Get nothing more of a group: what waits of it is dropped, and a ``group_message()`` that
        runs is waited for, except inside of it.
        """
        await self._wsconsumer.leave(group)

    async def broadcast(
        self, group: str, data: Any, include_self: bool = True, *, key: str | None = None
    ) -> None:
        """
        Send ``data`` to every member of a group, whether this connection is one or not.

        ``data``: ``str`` as text, ``bytes`` as binary, anything else as JSON, encoded once.
        ``include_self=False``: to every other member. ``key``: for a group that keeps, a name for
        what is said, which is then said only once, however often it is tried. Delivery is at most
        once, unless the group keeps, and in order from one publisher to one group. Raises
        ``BackendError`` if the engine behind the groups does not take it, ``TypeError`` or
        ``ValueError`` for what can't be sent.
        """
        await self._wsconsumer.broadcast(group, data, include_self, key)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """
        Run a coroutine beside the hooks, as a task that belongs to this connection.

        It is cancelled and awaited before ``disconnect()``; an exception in it is handled like a
        hook's. Raises ``InvalidState`` once the connection has ended, ``TooManyTasks`` beyond
        ``max_tasks``.
        """
        return self._wsconsumer.spawn(coroutine)

    # Facts: read these.

    @property
    def state(self) -> ConnectionState:
        """CONNECTING, OPEN, CLOSING or CLOSED, as RFC 6455 and the browser name them."""
        return self._wsconsumer.connection.state

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups that this connection is in."""
        member = self._wsconsumer.member
        return frozenset() if member is None else frozenset(member.groups)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that ``accept()`` chose."""
        return self._wsconsumer.connection.subprotocol

    @property
    def user(self) -> AbstractBaseUser | AnonymousUser:
        """The user of the request that opened this socket; safe to read in async code."""
        try:
            return self.request.user
        except AttributeError as error:
            if "request" not in vars(self):
                raise InvalidState(too_early(type(self), "user")) from None
            raise ImproperlyConfigured(
                f"{type(self).__name__}.user needs a request with a user. Add "
                "django.contrib.auth.middleware.AuthenticationMiddleware to MIDDLEWARE, or give "
                'scope["user"] to as_asgi().'
            ) from error

    @property
    def scope(self) -> Scope:
        """The ASGI connection scope of this websocket."""
        scope: Scope = self.request.scope  # type: ignore[attr-defined]  # a WebsocketRequest
        return scope

    @final
    def __call__(
        self, scope: Scope, receive: Receive, send: Send, accept_headers: Sequence[Header] = ()
    ) -> Coroutine[Any, Any, None]:
        """Return the coroutine that serves one connection."""
        return self._wsconsumer.serve(
            self,
            self,
            scope,
            receive,
            send,
            accept_headers=accept_headers,
            hears_groups=type(self).group_message is not WebsocketConsumer.group_message,
            hears_resets=type(self).group_reset is not WebsocketConsumer.group_reset,
        )


keep_facts(WebsocketConsumer)


async def _send_event(connection: Connection, event: Event) -> None:
    """Send what was encoded, with the errors of ``send()``; the connection is open."""
    assert connection.emit is not None  # noqa: S101  # it is open
    try:
        await connection.emit(event)
    except WsconsumerError:
        raise
    except Exception as error:
        raise connection.send_error(event) from error
