"""``limiting.py`` and what it sets up in ``connection/``: who goes over a limit is closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings

from tests.fakes import ACCEPT, CONNECT, DENIAL, Wire, close, disconnect, run, scope, sent, text
from wsconsumer import CloseCode, TooManyTasks, WebsocketConsumer, abroadcast
from wsconsumer.connection.heartbeats import PERIOD
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.messages import Event, Message, MessageConsumer, on
from wsconsumer.protocol import CLOSE_TIMEOUT
from wsconsumer.test import advance, connect
from wsconsumer.test.clock import turns


class Echo(WebsocketConsumer):
    """Echoes, and notes how it ended."""

    ended: Any = None

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)

    async def disconnect(self, code: int, reason: str) -> None:
        if self.ended is not None:
            self.ended.append((code, reason))


# connect_timeout


class Undecided(WebsocketConsumer):
    """Waits in connect() for what never comes."""

    log: Any = None

    async def connect(self) -> None:
        await self.wait()

    async def wait(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append(code)


def start(application: Any, *events: dict[str, Any], **more: Any) -> tuple[Wire, Any]:
    """Run an application on a wire beside the test."""
    wire = Wire(CONNECT, *events)
    return wire, asyncio.create_task(application(scope(**more), wire.receive, wire.send))


async def ended(task: Any) -> None:
    """Wait for the end of an application."""
    async with asyncio.timeout(5):
        await task


async def test_a_connect_that_does_not_decide(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets 503, and the log says where connect() waited."""
    log: list[Any] = []
    wire, task = start(Undecided.as_asgi(log=log), **DENIAL)
    await advance(9)
    assert wire.sent == []
    await advance(2)
    await ended(task)
    assert (wire.sent[0]["type"], wire.sent[0]["status"]) == ("websocket.http.response.start", 503)
    assert (log, counters["connect_timed_out"], counters["hook_interrupted"]) == ([], 1, 0)
    (line,) = caplog.messages
    assert line.startswith(
        "Undecided.connect() on / has not decided within 10 seconds (connect_timeout); denying "
        "with 503. What takes long belongs behind accept(), and what goes on into spawn(), without "
        "await. It waits here:\n"
    )
    assert "await self.wait()" in line
    assert line.rstrip().endswith("await asyncio.get_running_loop().create_future()")


async def test_a_connect_that_has_accepted() -> None:
    """The timeout is for the decision; what connect() does afterwards may take long."""

    class Accepting(Undecided):
        async def connect(self) -> None:
            await self.accept()
            await self.wait()

    log: list[Any] = []
    wire, task = start(Accepting.as_asgi(log=log))
    await advance(60)
    assert wire.sent == [ACCEPT]
    wire.put(disconnect())
    await advance(1)
    await ended(task)
    assert log == [1001]


@pytest.mark.parametrize("answer", ["accept", "reject", "fail"])
async def test_a_connect_that_swallows_its_cancellation(answer: str) -> None:
    """What it decides all the same counts, and nothing of the cancellation stays behind."""

    class Stubborn(Undecided):
        async def connect(self) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await self.wait()
            if answer == "reject":
                await self.reject(451)
            elif answer == "fail":
                raise RuntimeError("the secret")

        async def receive(self, data: str | bytes) -> None:
            await asyncio.sleep(2 * CLOSE_TIMEOUT)
            await self.send(data)

    wire, task = start(Stubborn.as_asgi(log=[]), **DENIAL)
    await advance(11)
    assert task.done() is (answer != "accept")
    assert task.done() or task.cancelling() == 0
    statuses = {"accept": None, "reject": 451, "fail": 500}
    assert wire.sent[0].get("status") == statuses[answer]
    if answer == "accept":
        wire.put(text("late"))
        await advance(3 * CLOSE_TIMEOUT)
        assert wire.sent == [ACCEPT, sent("late")]
        wire.put(disconnect())
    await ended(task)


async def test_no_connect_timeout() -> None:
    """``None`` leaves connect() all the time."""
    wire, task = start(Undecided.as_asgi(log=[], connect_timeout=None))
    await advance(3600)
    assert wire.sent == []
    wire.put(disconnect())
    await advance(1)
    await ended(task)


async def test_a_connect_in_time_is_forgotten() -> None:
    """Nothing is left of the timeout once the connection has been decided on."""
    async with connect(Echo):
        assert len(monitor().connecting) == 0
    assert len(monitor().connecting) == 0


# idle_timeout


async def test_a_silent_client(caplog: pytest.LogCaptureFixture) -> None:
    """It is closed with 4408 so long after its last message; what it is sent does not count."""
    caplog.set_level(logging.INFO, "wsconsumer")
    log: list[Any] = []
    async with connect(Echo.as_asgi(idle_timeout=60, ended=log)) as ws:
        await advance(50)
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await advance(59)
        await ws.expect_nothing()
        await advance(3)
        assert await ws.receive_close() == CloseCode.TIMED_OUT
    assert log == [(4408, "idle")]
    assert caplog.messages == ["Echo: closing with 4408, idle."]
    assert counters["idle_closed"] == 1


async def test_a_client_that_never_speaks() -> None:
    """The time begins with the connection."""
    async with connect(Echo.as_asgi(idle_timeout=0.1)) as ws:
        await advance(2)
        assert await ws.receive_close() == 4408


async def test_a_client_that_speaks_now_and_then() -> None:
    """Each message begins the time anew."""
    async with connect(Echo.as_asgi(idle_timeout=60)) as ws:
        for _ in range(10):
            await advance(55)
            await ws.send("hello")
            assert await ws.receive() == "hello"


async def test_a_client_that_waits_for_us_is_not_idle() -> None:
    """While a hook runs it is we who are slow; the time begins when the hook has ended."""

    class Slow(Echo):
        idle_timeout = 10

        async def receive(self, data: str | bytes) -> None:
            await asyncio.sleep(60)
            await self.send(data)

    async with connect(Slow) as ws:
        await ws.send("slow")
        await advance(61)
        assert await ws.receive() == "slow"
        await advance(8)
        await ws.expect_nothing()
        await advance(5)
        assert await ws.receive_close() == 4408


async def test_heartbeats_are_no_messages() -> None:
    """What our browser client answers by itself does not say that anybody is there."""
    async with connect(Echo.as_asgi(idle_timeout=60), subprotocols=["wsconsumer.v1"]) as ws:
        await advance(PERIOD + 1)
        await ws.receive()
        await ws.send('\x1e{"pong":1}')
        await advance(PERIOD + 1)
        await ws.receive()
        await advance(11)
        assert await ws.receive_close() == 4408


def stand_still(seconds: float, *, then: Callable[[], None]) -> None:
    """Let the loop's clock go on with nothing done meanwhile; ``then`` is what was waiting."""
    loop: Any = asyncio.get_running_loop()
    loop.call_soon(then)
    before = loop.time
    loop.time = lambda: before() + seconds


async def test_a_client_whose_message_waits_while_the_loop_stands_still() -> None:
    """Time in which nothing was read is no silence of the client's; later silence still is."""
    wire, task = start(Echo.as_asgi(idle_timeout=2))
    await wire.until_sent(1)
    await advance(1)
    stand_still(60, then=lambda: wire.put(text("here")))
    await wire.until_sent(2)
    await advance(1.5)
    assert wire.sent == [ACCEPT, sent("here")]
    await advance(2)
    assert wire.sent == [ACCEPT, sent("here"), close(4408, "idle")]
    wire.put(disconnect(4408))
    await ended(task)


async def test_a_connect_whose_answer_waits_while_the_loop_stands_still() -> None:
    """It decides with what has arrived, before anybody looks at its time."""
    answer = asyncio.Event()

    class Asks(Echo):
        connect_timeout = 5

        async def connect(self) -> None:
            await answer.wait()

    wire, task = start(Asks.as_asgi())
    await advance(1)
    stand_still(60, then=answer.set)
    await wire.until_sent(1)
    assert wire.sent == [ACCEPT]
    wire.put(disconnect())
    await ended(task)


async def test_a_loop_that_stands_still_again_and_again() -> None:
    """Timeouts come all the same, if later."""
    wire, task = start(Echo.as_asgi(max_lifetime=2))
    await wire.until_sent(1)
    for _ in range(2):
        assert wire.sent == [ACCEPT]
        stand_still(60, then=lambda: None)
        await turns()
    assert wire.sent == [ACCEPT, close(4408, "the lifetime is over")]
    wire.put(disconnect(4408))
    await ended(task)


class Ask(Message):
    text: str = ""


class Answer(Message):
    text: str = ""


class Answering(MessageConsumer):
    """Answers for long, beside other handlers."""

    idle_timeout = 10

    @on
    async def ask(self, message: Ask) -> AsyncIterator[Answer]:
        for _ in range(3):
            await asyncio.sleep(30)
            yield Answer()


async def test_a_client_that_is_being_answered_is_not_idle() -> None:
    """Nor is one whose stream or concurrent handler still runs."""
    async with connect(Answering, allow_unread=True) as ws:
        await ws.send('{"type": "ask", "ref": 1}')
        await advance(95)
        assert ws.close_code is None
        await advance(10)
        assert await ws.receive_close() == 4408


async def test_a_client_that_is_closing_already() -> None:
    """A close that waits for its answer is not closed again."""

    class Closing(Echo):
        idle_timeout = 5

        async def receive(self, data: str | bytes) -> None:
            await self.close(4000)

    wire, task = start(Closing.as_asgi(), text("bye"))
    await advance(CLOSE_TIMEOUT + 5)
    await ended(task)
    assert wire.sent == [ACCEPT, close(4000)]
    assert counters["idle_closed"] == 0


# max_lifetime


async def test_the_lifetime_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """A connection is closed with 4408 when its time is over, whatever its client sends."""
    caplog.set_level(logging.INFO, "wsconsumer")
    log: list[Any] = []
    async with connect(Echo.as_asgi(max_lifetime=100, ended=log)) as ws:
        await advance(89)
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await advance(22)
        assert await ws.receive_close() == 4408
    assert log == [(4408, "the lifetime is over")]
    assert caplog.messages == ["Echo: closing with 4408, the lifetime is over."]
    assert counters["lifetime_closed"] == 1


async def test_lifetimes_differ() -> None:
    """Those that came together do not all leave, and come back, at once."""
    apps = [start(Echo.as_asgi(max_lifetime=1000)) for _ in range(40)]
    await advance(899)
    assert counters["lifetime_closed"] == 0
    await advance(101)
    assert 0 < counters["lifetime_closed"] < 40
    await advance(101)
    assert counters["lifetime_closed"] == 40
    for wire, task in apps:
        wire.put(disconnect())
        await ended(task)


# max_message_size

SIZES: list[tuple[str | bytes, bool]] = [
    ("x" * 100, True),
    ("x" * 101, False),
    ("é" * 50, True),
    ("é" * 51, False),
    ("€" * 33, True),
    ("€" * 34, False),
    ("🐍" * 25, True),
    ("🐍" * 26, False),
    ("\ud800" * 34, False),
    (b"x" * 100, True),
    (b"x" * 101, False),
]


@pytest.mark.parametrize(
    ("data", "is_fine"), SIZES, ids=[repr(s[0][:1]) + str(len(s[0])) for s in SIZES]
)
async def test_the_size_of_a_message(
    data: str | bytes, is_fine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Text counts as UTF-8; what is too big is not handled, and closes with 1009."""
    log: list[Any] = []
    event = {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}
    wire, task = start(Echo.as_asgi(max_message_size=100, ended=log), event)
    await wire.until_sent(2)
    wire.put(disconnect())
    await ended(task)
    if is_fine:
        assert (wire.sent, log, caplog.messages) == ([ACCEPT, sent(data)], [(1001, "")], [])
        return
    assert wire.sent == [ACCEPT, close(1009, "at most 100 bytes")]
    assert log == [(1009, "at most 100 bytes")]
    assert counters["message_too_big"] == 1
    (line,) = caplog.messages
    assert line.startswith("Echo on / was closed with 1009: a message was too big. ")


@pytest.mark.parametrize(("limit", "sizes"), [(None, 3), (1024 * 1024, 1)], ids=["none", "1 MiB"])
async def test_big_messages(limit: int | None, sizes: int) -> None:
    """``None`` leaves the limit to the server; the default is 1 MiB."""
    big = [text("x" * (1024 * 1024 + more)) for more in (0, 1, 2)]
    sent = await run(Echo.as_asgi(max_message_size=limit), *big, disconnect())
    assert sum(message["type"] == "websocket.send" for message in sent) == sizes


# rate_limit


@pytest.mark.parametrize(
    ("rate", "messages", "after"), [("3/s", 3, "after=1"), ("5/m", 5, "after=60")]
)
async def test_too_many_messages(
    rate: str, messages: int, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One message too many is not handled, and closes with 4429 and when to come back."""
    log: list[Any] = []
    wire, task = start(Echo.as_asgi(rate_limit=rate, ended=log), *[text("x")] * (messages + 2))
    wire.put(disconnect())
    await ended(task)
    assert wire.sent == [ACCEPT, *[sent("x")] * messages, close(4429, after)]
    assert log == [(4429, after)]
    assert caplog.messages == [
        f"Echo on /: closing with 4429, the client sent more than {rate} (no user)."
    ]
    assert (counters["rate_limited"], counters["message_dropped"]) == (1, 2)


async def test_a_client_within_its_rate() -> None:
    """Who sends as much as is allowed is never closed."""
    async with connect(Echo.as_asgi(rate_limit="2/s")) as ws:
        for _ in range(20):
            await advance(0.5)
            await ws.send(b"x")
            assert await ws.receive() == b"x"


async def test_messages_that_are_read_ahead() -> None:
    """Who floods a hook that runs is closed meanwhile."""

    class Slow(Echo):
        rate_limit = "3/s"

        async def receive(self, data: str | bytes) -> None:
            await asyncio.get_running_loop().create_future()

    log: list[Any] = []
    wire, task = start(Slow.as_asgi(ended=log), *[text("x")] * 9)
    await advance(2)
    assert wire.sent == [ACCEPT, close(4429, "after=1")]
    wire.put(disconnect(4429))
    await advance(CLOSE_TIMEOUT + 1)
    await ended(task)
    assert log == [(4429, "after=1")]


async def test_heartbeats_take_no_tokens() -> None:
    """What our browser client answers by itself is not counted."""
    async with connect(Echo.as_asgi(rate_limit="1/h"), subprotocols=["wsconsumer.v1"]) as ws:
        for _ in range(3):
            await ws.send('\x1e{"pong":1}')
        await ws.send("x")
        assert await ws.receive() == "x"


class Chat(Echo):
    """A class whose users have a limit."""

    rate_limit_per_user = "4/m"


class Other(Chat):
    """Another class, with tokens of its own."""


USER, ANOTHER = User(pk=1, username="ann"), User(pk=2, username="bob")


async def test_a_user_shares_a_rate(caplog: pytest.LogCaptureFixture) -> None:
    """All connections of a user to a class take from one bucket; others have their own."""
    async with (
        connect(Chat, user=USER) as one,
        connect(Chat, user=USER) as two,
        connect(Chat, user=ANOTHER) as bob,
        connect(Other, user=USER) as other,
    ):
        for ws in (one, two, one, two, *[bob] * 4, *[other] * 4):
            await ws.send("x")
            assert await ws.receive() == "x"
        await one.send("x")
        assert await one.receive_close() == 4429
        assert (two.close_code, bob.close_code, other.close_code) == (None, None, None)
    assert caplog.messages == [
        "Chat on /: closing with 4429, the client sent more than 4/m (user 1)."
    ]


async def test_a_user_who_comes_back() -> None:
    """A bucket outlives the connections that emptied it, until it is full."""

    async def send_three() -> int | None:
        async with connect(Chat, user=USER) as ws:
            for _ in range(3):
                await ws.send("x")
                await ws.settle()
                if ws.close_code is not None:
                    return ws.close_code
                await ws.receive()
            return None

    assert await send_three() is None
    assert await send_three() == 4429
    async with connect(Echo):
        await advance(61)
    buckets = vars(monitor().user_buckets)
    assert not any(buckets[name] for name in ("_buckets", "_held", "_filling"))
    assert await send_three() is None


@pytest.mark.parametrize(
    "user",
    [None, AnonymousUser(), User(), SimpleNamespace(pk=1)],
    ids=["none", "anonymous", "unsaved", "odd"],
)
async def test_nobody_shares_nothing(user: Any) -> None:
    """Those who are not logged in have no limit per user."""
    async with connect(Chat, **({} if user is None else {"user": user})) as ws:
        for _ in range(9):
            await ws.send("x")
            assert await ws.receive() == "x"


async def test_both_rates() -> None:
    """A connection's own rate and its user's both count."""
    async with connect(Chat.as_asgi(rate_limit="2/s"), user=USER) as ws:
        for _ in range(2):
            for _ in range(2):
                await ws.send("x")
                assert await ws.receive() == "x"
            await advance(2)
        await ws.send("x")
        assert await ws.receive_close() == 4429
        assert ws.close_reason == "after=60"


# max_tasks


async def test_too_many_tasks() -> None:
    """One task more than may run at a time is refused, and those before run on."""

    class Spawning(WebsocketConsumer):
        max_tasks = 2

        async def receive(self, data: str | bytes) -> None:
            first, second = self.spawn(self.wait()), self.spawn(self.wait())
            with pytest.raises(
                TooManyTasks, match=r"Spawning\.spawn\(\) is one too many: max_tasks"
            ):
                self.spawn(self.wait())
            first.cancel()
            await asyncio.wait([first])
            self.spawn(self.wait())
            await self.send(str(second.done()))

        async def wait(self) -> None:
            await asyncio.get_running_loop().create_future()

    async with connect(Spawning) as ws:
        await ws.send("go")
        assert await ws.receive() == "False"


async def test_too_many_streams() -> None:
    """A client that asks for more streams than there may be tasks is told so."""
    async with connect(Answering.as_asgi(max_tasks=1)) as ws:
        await ws.send('{"type": "ask", "ref": 1}')
        for _ in range(2):
            await ws.send('{"type": "ask", "ref": 2}')
            error = await ws.receive_json()
            assert (error["ref"], error["code"]) == (2, "too_many_requests")


# slow_hook_seconds


class Slow(WebsocketConsumer):
    """Waits in its hook."""

    log: Any = None

    async def receive(self, data: str | bytes) -> None:
        await self.wait(float(data))

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SlowMessages(MessageConsumer):
    """The same behind a hook of ours."""

    @on
    async def ask(self, message: Ask) -> None:
        await asyncio.sleep(40)


async def test_a_slow_hook_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The log says once what runs long, and in which line it waits."""
    async with connect(Slow) as ws:
        await ws.send("40")
        await advance(29)
        assert caplog.messages == []
        await advance(10)
    (line,) = caplog.messages
    assert line.startswith("Slow.receive has been running for more than 30 seconds, and what")
    assert "await self.wait(float(data))" in line
    assert counters["hook_slow"] == 1


async def test_a_slow_handler_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """What is ours around it is left out."""
    async with connect(SlowMessages) as ws:
        await ws.send('{"type": "ask"}')
        await advance(35)
        assert caplog.messages[0].startswith("SlowMessages.ask has been running for more than 30")
        await advance(10)


async def test_a_slow_hook_is_named_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that is slow for each of many is named once, and counted each time."""
    async with connect(Slow.as_asgi(slow_hook_seconds=5)) as ws, connect(Slow) as other:
        await ws.send("9")
        await advance(10)
        await ws.send("9")
        await other.send("1")
        await advance(10)
        assert (len(caplog.messages), counters["hook_slow"]) == (1, 2)
        await advance(60)
        await ws.send("9")
        await advance(10)
        assert (len(caplog.messages), counters["hook_slow"]) == (2, 3)


class SlowHooks(MessageConsumer):
    """Is slow in the hooks that no message of the client begins."""

    async def connect(self) -> None:
        await self.join("news")

    async def group_message(self, group: str, data: Any) -> None:
        await self.wait()

    async def disconnect(self, code: int, reason: str) -> None:
        await self.wait()

    async def wait(self) -> None:
        await asyncio.sleep(40)


class Happened(Event):
    pass


class SlowEvents(MessageConsumer):
    """Is slow in a handler of events."""

    async def connect(self) -> None:
        await self.join("news")

    @on
    async def happened(self, event: Happened) -> None:
        await asyncio.sleep(40)


@pytest.mark.parametrize(
    ("consumer", "data", "hook"),
    [
        (SlowHooks, "hello", "SlowHooks.group_message"),
        (SlowEvents, Happened(), "SlowEvents.happened"),
    ],
    ids=["group_message", "event"],
)
async def test_what_a_group_brings_may_be_slow(
    consumer: Any, data: Any, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs beside receive() is named too, and in time for the next broadcast."""
    wire, task = start(consumer.as_asgi())
    await wire.until_sent(1)
    await abroadcast("news", data)
    await advance(20)
    await abroadcast("news", data)
    await advance(15)
    (line,) = caplog.messages
    assert line.startswith(f"{hook} has been running for more than 30 seconds")
    assert "await " in line
    await advance(60)
    assert counters["hook_slow"] == 2
    wire.put(disconnect())
    await advance(50)
    await ended(task)
    assert not vars(monitor().slow_hooks)["_since"]


@pytest.mark.parametrize("leaves", ["while receive() runs", "by itself"])
async def test_a_slow_disconnect_is_named(leaves: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is named, and neither read ahead of nor cancelled."""
    log: list[Any] = []

    class Slow(SlowHooks):
        async def receive(self, data: str | bytes) -> None:
            await self.wait()

        async def disconnect(self, code: int, reason: str) -> None:
            await self.wait()
            log.append(code)

    wire, task = start(Slow.as_asgi())
    await wire.until_sent(1)
    if leaves == "while receive() runs":
        wire.put(text("x"))
        await advance(2)
    wire.put(disconnect())
    await advance(35)
    (line,) = caplog.messages
    assert "Slow.disconnect has been running for more than 30 seconds" in line
    await advance(10)
    await ended(task)
    assert (log, counters["hook_slow"]) == ([1001], 1)


async def test_slow_hooks_may_be_fine(caplog: pytest.LogCaptureFixture) -> None:
    """``None`` says that they are."""
    async with connect(Slow.as_asgi(slow_hook_seconds=None)) as ws:
        await ws.send("600")
        await advance(601)
    assert (caplog.messages, counters["hook_slow"]) == ([], 0)


# All of them


async def test_settings_and_views() -> None:
    """The settings are the default, and a view's own limit takes precedence."""
    with override_settings(WSCONSUMER={"IDLE_TIMEOUT": 5}):
        async with connect(Echo) as ws, connect(Echo.as_asgi(idle_timeout=None)) as other:
            await advance(7)
            assert await ws.receive_close() == 4408
            await other.expect_nothing()


async def test_nothing_is_left() -> None:
    """A connection that ends leaves nothing behind on the ticker."""
    limits = {"idle_timeout": 5, "max_lifetime": 5, "rate_limit": "1/s", "slow_hook_seconds": 1}
    async with connect(Slow.as_asgi(**limits)) as ws:
        await ws.send("2")
        await advance(1.5)
    watch = monitor()
    for room in (watch.idling, watch.deadlines, watch.user_buckets, watch.slow_hooks):
        found = {
            name: value
            for name, value in vars(room).items()
            if name not in ("_now", "_named", "_deadlines")
        }
        assert not any(len(value) for value in found.values()), found
