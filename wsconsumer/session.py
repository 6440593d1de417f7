"""
One consumer on one connection, from ``websocket.connect`` to the end.

``Session.run`` is the coroutine that an idle websocket waits in, and its loop is the per-message
path: what a hand-written ASGI loop does, plus one look at the state and one note of what is being
handled. Read it first, then ``_contain`` for what becomes of a hook that raised.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from . import log_fields
from .belonging import Belonging
from .cancellation import Cancellations, Cause, consists_of, contains
from .connection.connection import STOP_TIMEOUT, Connection
from .connection.monitor import monitor
from .exceptions import ConnectionClosed
from .group_hooks import GroupHooks
from .groups.base import Position
from .groups.framed import FramedMember
from .groups.hub import Hub, hub
from .groups.member import Member
from .groups.orders import listen
from .hints import NotConnected
from .hooks import check_answer
from .limiting import Limiting, Place
from .observing import Account, Consumer, identify, observers
from .protocol import Action, CloseCode, ConnectionState, empty_message
from .reporting import log_cancelled, log_closed, log_dropped, log_overdue, log_too_big
from .servers import give_up
from .sessions import warn_if_changed
from .spawned import Spawning
from .verdicts import close_code_for, status_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from .groups.member import Listener
    from .limits import Limits
    from .protocol import Event, Header, Receive, Scope, Send

    Fail: TypeAlias = Callable[[str, BaseException], Awaitable[None]]

logger = logging.getLogger("wsconsumer.consumer")

_OPEN: Final = ConnectionState.OPEN

CANCEL_AGAIN_AFTER: Final = 10.0
"""Seconds after which a hook that swallowed its cancellation is cancelled again."""


class Session(Belonging, Limiting, Spawning, GroupHooks):
    """
    Runs one consumer; ``connection`` is there once it is being served.

    ``began`` is when, by the loop's clock. ``handling`` is the event that a hook of the loop works
    at: the monitor looks at it to tell how long that takes.
    """

    __slots__ = (
        "__weakref__",
        "_cancellations",
        "_closed_by",
        "_consumer",
        "_deadline",
        "_dropped",
        "_expires",
        "_hashed",
        "_hears_groups",
        "_hears_resets",
        "_hub",
        "_is_ending",
        "_limits",
        "_loop",
        "_monitor",
        "_place",
        "account",
        "began",
        "connection",
        "context",
        "handling",
        "member",
    )

    _hub: Hub
    _consumer: Consumer

    def __init__(self) -> None:
        self.connection = cast("Connection", NotConnected())
        self.handling: Event | None = None
        self.member: Member | None = None
        self._expires = inf
        self._place: Place | None = None
        self._hashed: dict[str, str] = {}
        for observer in observers:
            observer.on_handshake(self)

    @property
    def consumer(self) -> Consumer:
        """The consumer that is served, until the end."""
        return self._consumer

    def expire_at(self, timestamp: float) -> None:
        """Close with 4401 at a time, in seconds since 1970; of several, the first counts."""
        self._expires = min(self._expires, timestamp)

    def serve(
        self,
        consumer: Consumer,
        limits: Limits,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        accept_headers: Sequence[Header] = (),
        hears_groups: bool,
        hears_resets: bool,
    ) -> Coroutine[Any, Any, None]:
        """
        Return the coroutine that serves one connection; it must be awaited in the server's task.

        ``accept_headers`` go out with ``accept()``. ``hears_groups``: whether the consumer's own
        ``group_message()`` takes what is broadcast to its groups; ``hears_resets``: whether it has
        a ``group_reset()`` of its own.
        """
        owner = type(consumer).__name__
        self.context = identify(consumer)
        self.connection = Connection(owner, scope, receive, send, accept_headers)
        self._consumer = consumer
        self._limits = limits
        self._hears_groups = hears_groups or hears_resets
        self._hears_resets = hears_resets
        self._spawned = None
        self._closed_by: Event | None = None
        self._deadline: float | None = None
        self._is_ending = False
        self._dropped = 0
        return self.run()

    async def run(self) -> None:  # noqa: C901  # one coroutine: a level costs per message
        """Serve the connection to its end."""
        connection = self.connection
        self._begin()
        consumer = self.account.hooks
        try:
            accepted = await self._connect()
            short = self._short
            while accepted:
                event = await connection.receive()
                # Only a message has text, so most events need no look at their type.
                data = event.get("text")
                if data is None:
                    if event["type"] != "websocket.receive":
                        connection.on_disconnect(event)
                        break
                    data = event.get("bytes")
                    if data is None:
                        await self._fail("receive", empty_message(event))
                        continue
                if connection.state is not _OPEN:
                    self._dropped += 1
                    continue
                if len(data) > short and await self._is_too_big(data):
                    continue
                self.handling = event
                try:
                    await consumer.receive(data)
                except BaseException as error:
                    self.handling = None
                    if not await self._contain("receive", error):
                        raise
                self.handling = None
            await self._end()
        except BaseException as error:
            if not await self._stop(error):
                raise
        finally:
            self._finish()

    def _begin(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._loop = task.get_loop()
        self.began = self._loop.time()
        self._cancellations = Cancellations(task)
        self.account = Account(self, self._consumer, self.connection)
        self._monitor = monitor()
        self._monitor.watch(self)
        listen()
        if self._expires < inf:
            self._monitor.deadlines.expire(self.connection, self._expires)

    async def _connect(self) -> bool:
        """Let the consumer decide; return whether the connection was accepted."""
        connection = self.connection
        if not await connection.receive_connect() or await self._is_refused():
            return False
        self._begin_limits()
        self.handling = {"type": "websocket.connect"}
        try:
            check_answer(self._consumer, await self._let_in())
            if connection.state is ConnectionState.CONNECTING:
                await connection.accept()
        except BaseException as error:
            self.handling = None
            if not await self._contain("connect", error):
                raise
        self.handling = None
        await self._end_connecting()
        self.on_accepted()  # a connect() that was cancelled may have accepted
        self._close_if_refused()
        return connection.accepted

    # What hooks raise.

    async def _contain(
        self, hook: str, error: BaseException, task: int | None = None, fail: Fail | None = None
    ) -> bool:
        """
        Deal with what a hook or a spawned coroutine raised; return False to let it go on up.

        The log and error trackers are told, the client never is. ``task`` is the ``id()`` of the
        task that the hook runs in, if it is not the session's; ``fail`` is done instead of ending.
        """
        if contains(error, KeyboardInterrupt) or self._cancellations.is_abandoned(error, task):
            return False
        cause = self._cancellations.judge(error)
        if consists_of(error, asyncio.CancelledError) and cause is not Cause.STRAY:
            if cause is not Cause.SERVER:
                log_cancelled(self._consumer, hook, cause)
                await self._cancellations.absorb()
            return cause is not Cause.SERVER
        if self._is_closed(error):
            log_closed(self._consumer, hook, error)
        else:
            await (fail or self._fail)(hook, error)
        if cause is Cause.SERVER:
            raise asyncio.CancelledError
        if cause is not Cause.STRAY:
            await self._cancellations.absorb()
        return True

    def _is_closed(self, error: BaseException) -> bool:
        """Return whether this only says that the connection is closed, which is no fault."""
        is_over = self.connection.state not in (ConnectionState.CONNECTING, _OPEN)
        return is_over and consists_of(error, ConnectionClosed)

    async def _fail(self, hook: str, error: BaseException) -> None:
        connection = self.connection
        if connection.state is ConnectionState.CONNECTING:
            await connection.reject(status_for(self._consumer, hook, error))
        else:
            await connection.close(close_code_for(self._consumer, hook, error))

    # What time brings; the monitor calls these.

    def client_left(self) -> None:
        """Cancel the hook that still runs for a client that has left, unless the hook closed."""
        is_running = self.handling is not None and not self._is_ending
        if is_running and self.handling is not self._closed_by:
            self._cancel(Cause.CLOSED if self.connection.close_deadline else Cause.CLIENT_LEFT)
            self.connection.on_client_left()

    def look_after(self, now: float) -> None:
        """Look at what should have ended by now; ``now`` in seconds of the loop's clock."""
        deadline = self.connection.close_deadline if self._deadline is None else self._deadline
        if deadline is None or now < deadline or self._is_ending:
            return
        if self.handling is not None:
            self.context.run(log_overdue, self._consumer, CANCEL_AGAIN_AFTER)
            self._cancel(Cause.OVERDUE)
        else:
            self._cancel(Cause.CLOSE_UNANSWERED)

    def _cancel(self, cause: Cause) -> None:
        self._deadline = self._loop.time() + CANCEL_AGAIN_AFTER
        self._cancellations.request(cause)

    # The end.

    async def _stop(self, error: BaseException) -> bool:
        """
        End what the server cancelled, or broke; return False to let the error go on up.

        A cancellation of our own is only the way out of waiting for a disconnect event.
        """
        if self._is_ending or isinstance(error, GeneratorExit):
            return False
        is_cancelled = isinstance(error, asyncio.CancelledError)
        cause = self._cancellations.judge(error) if is_cancelled else Cause.STRAY
        if cause not in (Cause.SERVER, Cause.STRAY):
            await self._end()
            give_up(self.connection.server_send)
            return True
        code = CloseCode.SERVICE_RESTART if is_cancelled else CloseCode.INTERNAL_ERROR
        try:
            await self._say_goodbye(code)
        finally:
            await self._end()
        if self.connection.accepted:
            await self.connection.await_disconnect()
        return False

    async def _say_goodbye(self, code: CloseCode) -> None:
        """Close, where the server still lets us; one that has stopped may never be done with it."""
        if self.connection.state is _OPEN:
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.connection.close(code)
            except TimeoutError:
                logger.debug("%s: the server did not send the close.", self.connection.owner)

    async def _end(self) -> None:
        """Cancel what was spawned, then call ``disconnect()`` if the connection was accepted."""
        self._is_ending = True
        connection = self.connection
        self._cancellations.take_back()  # a hook swallowed it
        self._let_go()
        code, reason = connection.end()
        if code == CloseCode.MESSAGE_TOO_BIG:
            log_too_big(self._consumer)
        if self._dropped:
            log_dropped(connection.owner, self._dropped)
        try:
            if self._spawned is not None:
                await self._spawned.end()
            if self.member is not None:
                await self.member.stop()
        finally:
            if connection.accepted:
                self.handling = {"type": "websocket.disconnect"}
                try:
                    await self.account.hooks.disconnect(code, reason)
                except BaseException as error:
                    if not await self._contain("disconnect", error):
                        raise
            self.account.on_ended(code, reason)

    def _finish(self) -> None:
        """Let go of everything that refers back to us, so that the memory is free at once."""
        self._monitor.forget(self)
        self._let_go()
        warn_if_changed(self._consumer, self._consumer.request)
        if self.member is not None:
            self._hub.drop(self.member)
        self.member = None
        self.connection.release()
        self._cancellations.release()
        if not self._spawned:
            del self._consumer, self._limits, self.account
        log_fields.end()

    # Verbs that need more than the connection.

    def refuse_send(self) -> None:
        """Raise the error for a ``send()`` on a connection that is not open."""
        # In disconnect() there is nobody to hear it, and what comes after it must still run.
        if not (self._is_ending and self.connection.accepted and self._cancellations.is_current()):
            raise self.connection.refusal(Action.SEND)

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, and note if the hook that runs does so itself."""
        self.connection.check_loop("close()")
        if self._cancellations.is_current() and self.connection.state is _OPEN:
            self._closed_by = self.handling
        await self.connection.close(code, reason)

    async def join(self, group: str, *, resume: bool) -> None:
        """Make the connection a member of a group, where its client was if it says so."""
        self.connection.check_loop("join()")
        self.connection.check_joinable()
        if self.member is None:
            self.member = self._make_member(self._hear if self._hears_groups else None)
            if self.account.measure is not None:
                self.member.measure(self.account.measure)
            self._hub = hub()
        place = self.connection.page.take_place(group)
        at = Position(*place) if resume and place is not None else None
        await self._hub.join(self.member, group, self._limits.max_groups, at)

    def _make_member(self, listener: Listener | None) -> Member:
        """Return what stands for the connection in its groups."""
        kind = FramedMember if self.connection.speaks_own else Member
        return kind(self.connection, self._limits, listener)

    async def leave(self, group: str) -> None:
        """Take the connection out of a group."""
        self.connection.check_loop("leave()")
        if self.member is not None:
            await self._hub.leave(self.member, group)

    async def broadcast(self, group: str, data: Any, include_self: bool, key: str | None) -> None:
        """Broadcast to a group, on request not to this connection."""
        self.connection.check_loop("broadcast()")
        await hub().publish(group, data, without=None if include_self else self.member, key=key)
