"""
The contract of a groups backend, as tests that any backend can run.

The contract itself is ``wsconsumer.groups.base``. Two instances in one process stand for two
processes here. Nothing sleeps: a body did *not* arrive if one that was
published after it did.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from .listener import WAIT, Listener, noticing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..groups.base import Backend

PREFIX: Final = "contract"

ODD_NAMES: Final = (
    "a", "A", "a ", " a", " ", "a b", "room.1", "room-1", "room_1", "room:1", "contract:a",
    "'", '"', "`", "\\", "\\n", "%s", "%", "{}", "{0}", "{a}", "{", "}", "$1", "$", ";", "--", "/",
    "*", "?", "[a]", "[^a]", "a*", "(", ")", "<>", "|", "&", "#", "@", "!", "^", "~", "=", "+", ",",
    "0", "-1", "null", "NULL", "é", "e\u0301", "ß", "SS", "İ", "чат", "部屋", "غرفة", "🙂", "👍🏽",
    "x" * 200, "X" * 200, "部" * 200, "🙂" * 200,
)  # fmt: skip
"""Names of groups that a backend could mistake for something else, or for each other."""

SIZES: Final = (0, 1, *range(7_900, 8_201, 20), 7_999, 8_000, 8_001, 8_191, 8_192, 65_536, 1 << 20)
"""Sizes of bodies, close together where PostgreSQL's limit of 8,000 bytes is."""


class BackendContract:
    """
    Tests of what ``wsconsumer.groups.base.Backend`` promises.

    Subclass it with ``make_backend()``, under pytest with pytest-asyncio in its auto mode::

        class TestMyBackend(BackendContract):
            def make_backend(self, prefix="contract"):
                return MyBackend("my://engine", prefix, {})
    """

    many_groups: ClassVar[int] = 1_000
    """How many groups are subscribed in one call."""

    def make_backend(self, prefix: str = PREFIX) -> Backend:
        """
        Override to return a new instance that is not started.

        All must use the same engine. Instances with the same prefix hear each other, others don't.
        """
        raise NotImplementedError

    @asynccontextmanager
    async def listening(self, *groups: str, prefix: str = PREFIX) -> AsyncIterator[Listener]:
        """Start a backend that is subscribed to these groups, and close it in the end."""
        listener = Listener(self.make_backend(prefix))
        await listener.backend.start(listener.deliver)
        try:
            if groups:
                await listener.backend.subscribe(groups)
            yield listener
        finally:
            listener.open.set()
            await listener.backend.aclose()

    async def test_a_body_reaches_every_subscriber_once(self) -> None:
        """A body comes to every backend that subscribed, its publisher too, exactly once."""
        async with self.listening("g") as one, self.listening("g") as two:
            await one.backend.publish("g", b"body")
            await one.backend.publish("g", b"end")
            for listener in (one, two):
                await listener.until("g", b"end")
                assert listener.came == [("g", b"body"), ("g", b"end")]

    async def test_publishing_needs_no_subscription(self) -> None:
        """A backend that subscribed to nothing can publish."""
        async with self.listening() as one, self.listening("g") as two:
            await one.backend.publish("g", b"body")
            await two.until("g", b"body")

    async def test_a_body_to_a_group_of_nobody_is_no_error(self) -> None:
        """What is published to a group that nobody subscribed to is gone."""
        async with self.listening("g") as one:
            await one.backend.publish("nobody", b"body")
            await one.backend.publish("g", b"end")
            await one.until("g", b"end")
            assert not one.backend.needs_subscriptions or one.came == [("g", b"end")]

    async def test_not_to_one_that_is_not_subscribed(self) -> None:
        """A body does not come to a backend that subscribed to other groups."""
        async with self.listening("g", "end") as one, self.listening("end") as two:
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
            await one.backend.publish("end", b"end")
            await two.until("end", b"end")
            assert not two.backend.needs_subscriptions or not two.of("g")

    async def test_unsubscribing_ends_it(self) -> None:
        """What is published after ``unsubscribe()`` does not come, and other groups still do."""
        async with self.listening("g", "end") as one, self.listening("g", "end") as two:
            await two.backend.unsubscribe(["g"])
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
            await one.backend.publish("end", b"end")
            await two.until("end", b"end")
            assert not two.backend.needs_subscriptions or not two.of("g")

    async def test_subscribing_again(self) -> None:
        """A group that was unsubscribed can be subscribed again, any number of times."""
        async with self.listening("g") as one, self.listening("end") as two:
            for turn in range(5):
                await two.backend.subscribe(["g"])
                await one.backend.publish("g", b"%d" % turn)
                await two.until("g", b"%d" % turn)
                await two.backend.unsubscribe(["g"])
            assert two.of("g") == [b"%d" % turn for turn in range(5)]

    async def test_subscribed_when_subscribe_returns(self) -> None:
        """What anybody publishes after ``subscribe()`` has returned comes in."""
        async with self.listening() as one, self.listening() as two:
            for turn in range(50):
                await two.backend.subscribe([f"g{turn}"])
                await one.backend.publish(f"g{turn}", b"body")
            for turn in range(50):
                await two.until(f"g{turn}", b"body")

    async def test_many_groups_in_one_call(self) -> None:
        """A thousand groups are subscribed, and unsubscribed, in one call."""
        groups = [f"group {number}" for number in range(self.many_groups)]
        async with self.listening() as one, self.listening("end") as two:
            await two.backend.subscribe(groups)
            await asyncio.gather(*(one.backend.publish(group, b"body") for group in groups))
            await two.until_count(len(groups))
            assert sorted(two.came) == sorted((group, b"body") for group in groups)
            await two.backend.unsubscribe(groups)
            await one.backend.publish(groups[0], b"late")
            await one.backend.publish("end", b"end")
            await two.until("end", b"end")
            assert not two.backend.needs_subscriptions or (groups[0], b"late") not in two.came

    async def test_order(self) -> None:
        """What one publisher publishes to one group comes in that order."""
        bodies = [b"%d" % number for number in range(500)]
        async with self.listening() as one, self.listening("g") as two:
            for body in bodies:
                await one.backend.publish("g", body)
            await two.until("g", bodies[-1])
            assert two.of("g") == bodies

    async def test_order_of_publishes_that_do_not_wait_for_one_another(self) -> None:
        """Publishes that are started together keep the order in which they were started."""
        bodies = [b"%d" % number for number in range(500)]
        async with self.listening() as one, self.listening("g") as two:
            await asyncio.gather(*(one.backend.publish("g", body) for body in bodies))
            await two.until("g", bodies[-1])
            assert two.of("g") == bodies

    async def test_order_of_several_publishers(self) -> None:
        """Each publisher's bodies come in the order of that publisher."""

        async def publish(name: bytes, backend: Backend) -> None:
            for number in range(200):
                await backend.publish("g", b"%s %d" % (name, number))

        names = (b"a", b"b", b"c")
        async with self.listening("g") as a, self.listening("g") as b, self.listening("g") as c:
            listeners = (a, b, c)
            async with asyncio.TaskGroup() as tasks:
                for name, listener in zip(names, listeners, strict=True):
                    tasks.create_task(publish(name, listener.backend))
            for listener in listeners:
                await listener.until_count(600)
                for name in names:
                    own = [body for body in listener.of("g") if body.startswith(name)]
                    assert own == [b"%s %d" % (name, number) for number in range(200)]

    async def test_publish_sync(self) -> None:
        """A started backend publishes from a thread, and hears it itself too."""
        async with self.listening("g") as one, self.listening("g") as two:
            await asyncio.to_thread(one.backend.publish_sync, "g", b"body")
            await one.until("g", b"body")
            await two.until("g", b"body")
            assert one.came == two.came == [("g", b"body")]

    async def test_publish_sync_without_a_start(self) -> None:
        """A backend that was never started publishes, as processes without a loop do."""
        async with self.listening("g") as one:
            await asyncio.to_thread(self.make_backend().publish_sync, "g", b"body")
            await one.until("g", b"body")

    async def test_publish_sync_from_many_threads(self) -> None:
        """Threads share one instance; each keeps its own order."""
        idle = self.make_backend()
        ready = threading.Barrier(4)

        def publish(name: bytes) -> None:
            ready.wait(WAIT)
            for number in range(25):
                idle.publish_sync("g", b"%s %d" % (name, number))

        names = (b"a", b"b", b"c", b"d")
        async with self.listening("g") as one:
            await asyncio.gather(*(asyncio.to_thread(publish, name) for name in names))
            await one.until_count(100)
            for name in names:
                own = [body for body in one.of("g") if body.startswith(name)]
                assert own == [b"%s %d" % (name, number) for number in range(25)]

    async def test_order_of_async_and_sync(self) -> None:
        """One publisher that publishes now one way, now the other keeps its order."""
        bodies = [b"%d" % number for number in range(60)]
        async with self.listening("g") as one, self.listening("g") as two:
            for number, body in enumerate(bodies):
                if number % 3:
                    await one.backend.publish("g", body)
                else:
                    await asyncio.to_thread(one.backend.publish_sync, "g", body)
            for listener in (one, two):
                await listener.until("g", bodies[-1])
                assert listener.of("g") == bodies

    async def test_bodies_of_any_bytes(self) -> None:
        """A body is any bytes of any length; it comes whole, and in order among small ones."""
        bodies = [bytes(range(256)), b"\x00", b"\r\n", b"'\"\\", b"\xff\xfe"]
        for number, size in enumerate(SIZES):
            bodies += [b"%d" % number, _body(size)]
        async with self.listening() as one, self.listening("g") as two:
            for body in bodies:
                await one.backend.publish("g", body)
            await one.backend.publish("g", b"end")
            await two.until("g", b"end")
            assert two.of("g") == [*bodies, b"end"]

    async def test_large_bodies_from_threads(self) -> None:
        """``publish_sync`` carries large bodies as well."""
        bodies = [_body(size) for size in (8_000, 1 << 20, 0)]
        async with self.listening("g") as one:
            for body in (*bodies, b"end"):
                await asyncio.to_thread(one.backend.publish_sync, "g", body)
            await one.until("g", b"end")
            assert one.of("g") == [*bodies, b"end"]

    async def test_large_bodies_that_do_not_wait_for_one_another(self) -> None:
        """Large and small bodies that are published together keep their order."""
        bodies = [b"%d " % number + _body(size) for number, size in enumerate(SIZES)]
        async with self.listening() as one, self.listening("g") as two:
            await asyncio.gather(*(one.backend.publish("g", body) for body in bodies))
            await two.until("g", bodies[-1])
            assert two.of("g") == bodies

    async def test_names_of_groups(self) -> None:
        """Any printable name is a group of its own, up to 200 characters."""
        names = list(dict.fromkeys(ODD_NAMES))
        assert all(name.isprintable() and len(name) <= 200 for name in names)
        async with self.listening() as one, self.listening(*names) as two:
            for name in names:
                await one.backend.publish(name, name.encode())
            await two.until_count(len(names))
            assert sorted(two.came) == sorted((name, name.encode()) for name in names)

    async def test_names_are_no_patterns(self) -> None:
        """A group gets what is for its own name, and not what is for a name that looks alike."""
        async with self.listening("a*", "a?", "[a]", "A", "a ", "end") as one:
            for name in ("a", "ab", "aa", "a  ", " a"):
                await one.backend.publish(name, b"body")
            await one.backend.publish("end", b"end")
            await one.until("end", b"end")
            assert not one.backend.needs_subscriptions or one.came == [("end", b"end")]

    async def test_prefixes(self) -> None:
        """Backends with different prefixes do not hear one another."""
        async with (
            self.listening("g", prefix="one") as one,
            self.listening("g", prefix="two") as two,
            self.listening("e:g", prefix="on") as like_one,
        ):
            await one.backend.publish("g", b"for one")
            await asyncio.to_thread(one.backend.publish_sync, "g", b"for one too")
            await one.until("g", b"for one too")
            await two.backend.publish("g", b"for two")
            await like_one.backend.publish("e:g", b"for another")
            await two.until("g", b"for two")
            await like_one.until("e:g", b"for another")
            assert one.came == [("g", b"for one"), ("g", b"for one too")]
            assert two.came == [("g", b"for two")]
            assert like_one.came == [("e:g", b"for another")]

    async def test_a_slow_deliver(self) -> None:
        """A slow ``deliver`` loses nothing, and what came from elsewhere waits for its turn."""
        bodies = [b"%d" % number for number in range(300)]
        async with self.listening() as one, self.listening("g") as two:
            two.open.clear()
            await asyncio.gather(*(one.backend.publish("g", body) for body in bodies))
            await two.until("g", bodies[0])
            await asyncio.to_thread(one.backend.publish_sync, "g", b"end")
            assert not two.backend.needs_subscriptions or two.came == [("g", bodies[0])]
            two.open.set()
            await two.until("g", b"end")
            assert two.of("g") == [*bodies, b"end"]
            assert not two.backend.needs_subscriptions or two.most_at_once == 1

    async def test_a_deliver_that_raises(self) -> None:
        """A ``deliver`` that raises ends neither the backend nor the one who published."""
        async with self.listening("g") as one, self.listening("g") as two:
            two.fails_on = b"bad"
            await one.backend.publish("g", b"bad")
            await asyncio.to_thread(one.backend.publish_sync, "g", b"bad")
            await one.backend.publish("g", b"end")
            for listener in (one, two):
                await listener.until("g", b"end")
                assert listener.of("g") == [b"bad", b"bad", b"end"]

    async def test_aclose(self) -> None:
        """``aclose()`` ends it without a word, and leaves no task and no connection."""
        with noticing() as noticed:
            before = asyncio.all_tasks()
            async with self.listening("g") as one:
                async with self.listening("g", "h") as two:
                    await two.backend.publish("g", b"body")
                    await asyncio.to_thread(two.backend.publish_sync, "g", b"more")
                    await one.until("g", b"more")
                    await two.until("g", b"more")
                await one.backend.publish("g", b"late")
                await one.until("g", b"late")
                assert b"late" not in two.of("g")
            assert asyncio.all_tasks() == before
            del one, two
        assert noticed == []

    async def test_aclose_without_a_word_before(self) -> None:
        """A backend that was started can be closed at once."""
        with noticing() as noticed:
            async with self.listening():
                pass
        assert noticed == []

    async def test_a_loop_that_ends_without_aclose(self) -> None:
        """An event loop may just end: its tasks are cancelled, and let go of what they hold."""

        async def serve() -> None:
            listener = Listener(self.make_backend())
            await listener.backend.start(listener.deliver)
            await listener.backend.subscribe(["g", "h"])
            await listener.backend.publish("g", b"body")
            await listener.until("g", b"body")

        with noticing() as noticed:
            await asyncio.to_thread(lambda: asyncio.run(serve()))
        assert noticed == []
        async with self.listening("g") as one:
            await one.backend.publish("g", b"body")
            await asyncio.to_thread(self.make_backend().publish_sync, "g", b"end")
            await one.until("g", b"end")
            assert one.of("g") == [b"body", b"end"]


def _body(size: int) -> bytes:
    """Return a body of this size that no shift or cut would leave as it is."""
    return (b"%d of many bytes, \x00 and \xff among them; " % size * (size // 30 + 1))[:size]
