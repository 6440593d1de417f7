"""
``WebsocketConsumer``: hooks to override, verbs to call, facts to read, and the loop between them.

The loop is the per-message path: it does what a hand-written ASGI loop does, plus one check of the
state and one flag. Read ``__call__`` first, then ``_listen``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, final

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404

from .connection.connection import STOP_TIMEOUT, Connection
from .connection.monitor import monitor
from .counters import counters
from .exceptions import ConnectionClosed, InvalidState, WsconsumerError
from .failures import report
from .groups.envelope import Broadcast, encode_json
from .groups.hub import hub, new_token, refuse
from .groups.member import Member
from .handshake.views import ConsumerView
from .hooks import check_hooks
from .limits import Limits, check_limits
from .protocol import CloseCode, ConnectionState, RawHeaders, empty_message
from .servers import adapt, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

    from .protocol import Receive, Scope, Send

logger = logging.getLogger("wsconsumer.consumer")

_OPEN: Final = ConnectionState.OPEN


class WebsocketConsumer(Limits, ConsumerView):
    """
    Subclass this, override the hooks, and map ``YourConsumer.as_view()`` in ``urls.py``.

    Each connection gets an instance of its own. ``receive()`` is called in order, one message at a
    time; ``disconnect()`` runs exactly once for every connection that was accepted.
    """

    scope: Scope

    _connection: Connection
    _member: Member | None
    _spawned: set[asyncio.Task[None]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
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
        await self.send(data if isinstance(data, str | bytes) else encode_json(data))

    # Verbs: call these.

    async def accept(self, subprotocol: str | None = None, headers: RawHeaders = ()) -> None:
        """
        Complete the opening handshake.

        ``subprotocol``: one of those the client offers (``scope["subprotocols"]``), or ``None``.
        ``headers``: more headers for the 101 response, pairs of ``str`` or ``bytes`` (latin-1).
        Raises ``InvalidState`` if there was a decision before, ``ConnectionClosed`` if the client
        has left, ``TypeError`` or ``ValueError`` for what can't be sent.
        """
        await self._connection.accept(subprotocol, headers)

    async def reject(
        self, status: int = 403, body: str | bytes = "", headers: RawHeaders = ()
    ) -> None:
        """
        Refuse the opening handshake with an HTTP status from 300 to 599, and a body and headers.

        Where the server has no denial response (the ASGI extension ``websocket.http.response``)
        the client gets a bare 403. Raises ``InvalidState`` if there was a decision before,
        ``TypeError`` or ``ValueError`` for what can't be sent.
        """
        await self._connection.reject(status, body, headers)

    async def send(self, data: str | bytes | bytearray | memoryview) -> None:
        """
        Send one message: ``str`` as text, ``bytes`` as binary.

        Raises ``InvalidState`` before ``accept()``, ``ConnectionClosed`` after ``close()`` or once
        the client has gone, ``TypeError`` for other data, ``ValueError`` for text that UTF-8 can't
        say.
        """
        # Straight to the server: each coroutine between would cost a quarter of the raw loop.
        connection = self._connection
        try:
            if isinstance(data, str):
                await connection.emit({"type": "websocket.send", "text": data})
                return
            if isinstance(data, bytes):
                await connection.emit({"type": "websocket.send", "bytes": data})
                return
            if isinstance(data, bytearray | memoryview):
                await connection.emit({"type": "websocket.send", "bytes": bytes(data)})
                return
        except WsconsumerError:
            raise
        except Exception as error:
            raise connection.send_failed(data) from error
        raise TypeError(
            f"{type(self).__name__}.send() expects str or bytes, got {type(data).__name__}. "
            "Encode it first, for instance with json.dumps()."
        )

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """
        Close the connection. Once it is closing or closed, this does nothing.

        ``code``: 1000-1003, 1007-1014 or 3000-4999 (RFC 6455 section 7.4), else ``ValueError``.
        ``reason``: up to 123 bytes of UTF-8. Before ``accept()`` there is no websocket to close: it
        is ``reject()``, and an error (``InvalidState``) with a code or reason, which would be lost.
        """
        await self._connection.close(code, reason)

    async def join(self, group: str) -> None:
        """
        Get what is broadcast to a group, from now on until ``leave()`` or the end.

        A group is a name of 1 to 200 printable characters, else ``TypeError`` or ``ValueError``.
        Joining twice is joining once. What comes before ``accept()`` is sent after it. Raises
        ``TooManyGroups`` beyond ``max_groups``, ``ConnectionClosed`` once it is closing.
        """
        if self._member is None:
            overridden = type(self).group_message is not WebsocketConsumer.group_message
            self._member = Member(self._connection, self, self._hear if overridden else None)
        await hub().join(self._member, group, self.max_groups)

    async def leave(self, group: str) -> None:
        """Get nothing more of a group; what was broadcast before still comes, before this ends."""
        if self._member is not None:
            await hub().leave(self._member, group)

    async def broadcast(self, group: str, data: Any, include_self: bool = True) -> None:
        """
        Send ``data`` to every member of a group, whether this connection is one or not.

        ``data``: ``str`` as text, ``bytes`` as binary, anything else as JSON, encoded once.
        ``include_self=False``: to every other member. Delivery is at most once, and in order from
        one publisher to one group. Raises ``BackendError`` if the engine behind the groups does not
        take it, ``TypeError`` or ``ValueError`` for what can't be sent.
        """
        token = b""
        if not include_self and self._member is not None:
            token = self._member.token = self._member.token or new_token()
        await hub().publish(group, data, token)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """
        Run a coroutine beside the hooks, as a task that belongs to this connection.

        It is cancelled and awaited before ``disconnect()``; an exception in it is handled like a
        hook's. Raises ``InvalidState`` once the connection has ended.
        """
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(
                f"{type(self).__name__}.spawn() expects a coroutine, got {coroutine!r}. "
                "Call the async function: self.spawn(self.ticker())."
            )
        if self.state is ConnectionState.CLOSED:
            coroutine.close()
            raise InvalidState(
                f"{type(self).__name__}.spawn() comes too late: the connection is CLOSED."
            )
        task = asyncio.create_task(self._guard(coroutine))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task

    # Facts: read these.

    @property
    def state(self) -> ConnectionState:
        """CONNECTING, OPEN, CLOSING or CLOSED, as RFC 6455 and the browser name them."""
        return self._connection.state

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups that this connection is in."""
        return frozenset() if self._member is None else frozenset(self._member.groups)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that ``accept()`` chose."""
        return self._connection.subprotocol

    @property
    def user(self) -> AbstractBaseUser | AnonymousUser:
        """The user of the request that opened this socket; safe to read in async code."""
        try:
            return self.request.user
        except AttributeError as error:
            raise ImproperlyConfigured(
                f"{type(self).__name__}.user needs a request with a user. Add "
                "django.contrib.auth.middleware.AuthenticationMiddleware to MIDDLEWARE, or give "
                'scope["user"] to as_asgi().'
            ) from error

    # The life of a connection.

    @final
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from ``websocket.connect`` to the end."""
        scope, receive, send = adapt(scope, receive, send)
        self.scope = scope
        self._connection = connection = Connection(type(self).__name__, scope, receive, send)
        self._member = None
        self._spawned = set()
        keeper = monitor()
        keeper.watch(connection)
        try:
            await self._live()
        finally:
            keeper.forget(connection)
            if self._member is not None:
                hub().drop(self._member)

    async def _live(self) -> None:
        connection = self._connection
        try:
            if await connection.connected():
                await self._decide()
                if connection.accepted:
                    await self._listen()
        except GeneratorExit:
            # The coroutine is being thrown away: there is no loop left to await anything.
            raise
        except BaseException as error:
            if not connection.gave_up(error):
                await self._stopped(error)
                raise
        await self._end()

    async def _decide(self) -> None:
        connection = self._connection
        connection.handling = {"type": "websocket.connect"}
        try:
            await self.connect()
            if connection.state is ConnectionState.CONNECTING:
                await self.accept()
        except (Exception, asyncio.CancelledError) as error:
            connection.handling = None
            await self._failed("connect", error)
        connection.handling = None

    async def _listen(self) -> None:
        """The per-message path. Only a message has text, so most events need no look at type."""
        connection = self._connection
        while True:
            event = await connection.receive()
            data = event.get("text")
            if data is None:
                if event["type"] != "websocket.receive":
                    connection.disconnected(event)
                    return
                data = event.get("bytes")
            if connection.state is not _OPEN:
                connection.dropped += 1
                continue
            connection.handling = event
            try:
                if data is None:
                    raise empty_message(event)
                await self.receive(data)
            except (Exception, asyncio.CancelledError) as error:
                connection.handling = None
                await self._failed("receive", error)
            connection.handling = None

    async def _guard(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            await coroutine
        except (Exception, asyncio.CancelledError) as error:
            await self._failed(getattr(coroutine, "__name__", "spawn"), error)

    async def _hear(self, broadcast: Broadcast) -> None:
        """Run ``group_message()`` for one broadcast."""
        if self.state is not _OPEN:
            return
        try:
            data = broadcast.data
        except ValueError as error:
            refuse(broadcast.group, error)
            return
        try:
            await self.group_message(broadcast.group, data)
        except (Exception, asyncio.CancelledError) as error:
            await self._failed("group_message", error)

    async def _failed(self, name: str, error: BaseException) -> None:
        """Contain what a hook or a spawned coroutine raised: tell the log, never the client."""
        connection = self._connection
        if connection.was_interrupted(error):
            counters["hook_interrupted"] += 1
            logger.info("%s on %s was cancelled: the client has left.", name, self.request.path)
            return
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise error
        if isinstance(error, ConnectionClosed) and connection.state is not _OPEN:
            cause = "" if error.__cause__ is None else f" Cause: {error.__cause__!r}"
            logger.info("%s on %s: %s%s", name, self.request.path, error, cause)
            return
        if connection.state is not ConnectionState.CONNECTING:
            await report(self, name, error)
            await connection.close(CloseCode.INTERNAL_ERROR)
        elif isinstance(error, PermissionDenied):
            await connection.reject(403)
        elif isinstance(error, Http404):
            await connection.reject(404)
        else:
            await report(self, name, error)
            await connection.reject(500)

    async def _stopped(self, error: BaseException) -> None:
        """The server cancelled us, or broke ASGI: say goodbye where it still lets us, then end."""
        connection = self._connection
        stopping = isinstance(error, asyncio.CancelledError)
        code = CloseCode.SERVICE_RESTART if stopping else CloseCode.INTERNAL_ERROR
        try:
            if connection.state is _OPEN:
                # A server that has stopped already may never be done with it.
                async with asyncio.timeout(STOP_TIMEOUT):
                    await connection.close(code)
        except TimeoutError:
            logger.debug("%s: the server did not send the close.", connection.owner)
        finally:
            await self._end()
        if connection.accepted:
            await connection.await_disconnect()

    async def _end(self) -> None:
        """Cancel what was spawned, then call ``disconnect()`` if the connection was accepted."""
        connection = self._connection
        code, reason = connection.end()
        try:
            while tasks := tuple(self._spawned):
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            if self._member is not None:
                await self._member.stop()
        finally:
            if connection.accepted:
                try:
                    await self.disconnect(code, reason)
                except (Exception, asyncio.CancelledError) as error:
                    await self._failed("disconnect", error)
