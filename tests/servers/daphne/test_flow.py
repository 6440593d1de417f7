"""``servers/daphne/flow.py``: flow control, in both directions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from websockets.frames import Close, Opcode

from tests.servers.daphne.peer import Daphne, Lent, settled
from wsconsumer import servers
from wsconsumer.protocol import CLOSE_TIMEOUT
from wsconsumer.servers.daphne.fallback import explain_fallback
from wsconsumer.servers.daphne.flow import QUEUED_EVENTS, QUEUED_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_send_completes_in_place(lent: Lent) -> None:
    """While the transport takes more, a send is over before anything else could run."""
    sending = lent.send({"type": "websocket.send", "text": "now"})
    with pytest.raises(StopIteration):
        sending.send(None)
    assert await lent.frames() == ["now"]


async def test_sends_wait_while_the_client_takes_nothing(lent: Lent) -> None:
    """Messages wait for a paused transport, and go out in order when it resumes."""
    lent.outflow.pauseProducing()
    first, second = lent.message("1"), lent.message("2")
    assert await lent.frames() == []
    lent.outflow.resumeProducing()
    third = lent.message("3")
    assert await lent.frames() == ["1", "2", "3"]
    await asyncio.gather(first, second, third)


async def test_a_message_does_not_overtake(lent: Lent) -> None:
    """One that comes after the transport resumed is behind those that have waited."""
    lent.outflow.pauseProducing()
    waiting = lent.message("1")
    await settled()
    lent.outflow.resumeProducing()
    late = lent.send({"type": "websocket.send", "text": "2"})
    late.send(None)
    await waiting
    assert await lent.frames() == ["1"]
    with pytest.raises(StopIteration):
        late.send(None)
    assert await lent.frames() == ["2"]


async def test_one_message_for_each_resume(lent: Lent) -> None:
    """Where a message fills the transport again, the next goes on waiting."""
    write = lent.peer.transport.write

    def write_and_fill(data: bytes) -> None:
        write(data)
        lent.outflow.pauseProducing()

    lent.peer.transport.write = write_and_fill
    messages = [lent.message(str(number)) for number in range(3)]
    assert await lent.frames() == ["0"]
    for number in (1, 2):
        lent.outflow.resumeProducing()
        assert await lent.frames() == [str(number)]
    await asyncio.gather(*messages)


async def test_a_send_that_is_cancelled_while_it_waits(lent: Lent) -> None:
    """It is not sent, and those behind it are."""
    lent.outflow.pauseProducing()
    messages = [lent.message(str(number)) for number in range(4)]
    await settled()
    messages[0].cancel()
    messages[2].cancel()
    await settled()
    lent.outflow.resumeProducing()
    assert await lent.frames() == ["1", "3"]
    assert [message.cancelled() for message in messages] == [True, False, True, False]


@pytest.mark.parametrize("end", ["lose", "abort", "timeout", "client closes"])
async def test_a_client_that_goes_while_a_send_waits(lent: Lent, end: str) -> None:
    """However the connection ends, the send is told that the client has gone."""
    lent.outflow.pauseProducing()
    messages = [lent.message("1"), lent.message("2")]
    await settled()
    if end == "lose":
        lent.peer.transport.loseConnection()
    elif end == "abort":
        lent.peer.transport.abortConnection()
    elif end == "timeout":
        lent.peer.protocol.onAutoPingTimeout()
    else:
        lent.peer.close()
    for message in messages:
        with pytest.raises(ConnectionError, match="The client has gone"):
            await message


async def test_a_close_does_not_wait(lent: Lent) -> None:
    """The close frame goes behind what is buffered, and what waited comes too late."""
    lent.outflow.pauseProducing()
    message = lent.message("late")
    await settled()
    with pytest.raises(StopIteration):
        lent.send({"type": "websocket.close", "code": 1013}).send(None)
    (frame,) = lent.peer.events()
    assert Close.parse(frame.data).code == 1013
    with pytest.raises(ConnectionError, match="The client has gone"):
        await message


async def test_a_slow_client_has_time_to_close(lent: Lent) -> None:
    """Autobahn's one second, or less, is too short for what may be buffered before the close."""
    later: list[float] = []

    class Timer:
        def call_later(self, delay: float, function: Callable[[], None]) -> None:
            later.append(delay)

    lent.peer.protocol.factory._batched_timer = Timer()  # noqa: SLF001  # it has no public name
    await lent.send({"type": "websocket.close"})
    assert later == [CLOSE_TIMEOUT]


@pytest.mark.parametrize(
    "sizes",
    [[1] * 100, [QUEUED_SIZE // 2] * 5, [QUEUED_SIZE * 2]],
    ids=["many", "large", "one"],
)
async def test_a_client_that_sends_more_than_is_taken(lent: Lent, sizes: list[int]) -> None:
    """It is not read from until all is taken; then it is again, and nothing is lost."""
    await lent.flood(*sizes)
    assert lent.peer.transport.producerState == "paused"
    assert await lent.received() == sizes
    assert lent.peer.transport.producerState == "producing"
    await lent.flood(7)
    assert lent.peer.transport.producerState == "producing"
    assert await lent.received() == [7]
    await lent.flood(*sizes)
    assert lent.peer.transport.producerState == "paused"


async def test_messages_that_are_taken_do_not_count(lent: Lent) -> None:
    """However much comes, a client whose messages are taken is read from all the time."""
    for _ in range(10):
        await lent.flood(QUEUED_SIZE)
        assert lent.peer.transport.producerState == "producing"
        assert await lent.received() == [QUEUED_SIZE]


async def test_no_ping_while_its_answer_can_not_be_read(lent: Lent) -> None:
    """Daphne does not ask a client that is not read from, which it would drop as dead."""
    protocol, server = lent.peer.protocol, lent.peer.server
    server.ping_interval = -1
    await lent.flood(*[1] * 100)
    protocol.check_timeouts()
    assert lent.peer.events() == []
    await lent.received()
    protocol.check_timeouts()
    (frame,) = lent.peer.events()
    assert frame.opcode is Opcode.PING


async def test_a_close_while_the_client_is_not_read_from(lent: Lent) -> None:
    """Its answer to the close is read, and what it sends before that is dropped."""
    await lent.flood(*[1] * 100)
    await lent.send({"type": "websocket.close", "code": 4000})
    assert lent.peer.transport.producerState == "producing"
    await lent.flood(*[2] * 100)
    lent.peer.events()
    lent.peer.flush()
    assert not lent.peer.transport.connected
    for _ in range(100):
        assert (await lent.receive())["bytes"] == b"."
    event = await lent.receive()
    assert (event["type"], event["code"]) == ("websocket.disconnect", 4000)


async def test_messages_after_a_close(lent: Lent) -> None:
    """They wait for the application within the same bounds, and the rest is dropped."""
    await lent.send({"type": "websocket.close"})
    await lent.flood(*[1] * 100)
    assert lent.peer.transport.producerState == "producing"
    assert await lent.received() == [1] * (QUEUED_EVENTS + 1)


async def test_a_message_that_fills_the_queue_while_it_is_waited_for(lent: Lent) -> None:
    """Reading goes on although the wait for the message had begun before."""
    waiting = asyncio.ensure_future(lent.receive())
    await settled()
    lent.peer.client.send_binary(b"." * (QUEUED_SIZE * 2))
    lent.peer.flush()
    assert lent.peer.transport.producerState == "paused"
    assert len((await waiting)["bytes"]) == QUEUED_SIZE * 2
    following = asyncio.ensure_future(lent.receive())
    await settled()
    assert lent.peer.transport.producerState == "producing"
    lent.peer.client.send_text(b"more")
    lent.peer.flush()
    assert (await following)["text"] == "more"


async def test_a_receive_that_is_not_daphnes(caplog: pytest.LogCaptureFixture) -> None:
    """Where another application wraps receive(), daphne reads without bound; the log says so."""
    explain_fallback.cache_clear()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        daphnes = receive  # a name that can't be seen through

        async def wrapped() -> Any:
            return await daphnes()

        _, receiving, sending = servers.adapt(scope, wrapped, send)
        await sending({"type": "websocket.accept"})
        assert (await receiving())["type"] == "websocket.connect"
        await asyncio.Event().wait()

    peer = Daphne(application)
    peer.open()
    await settled()
    peer.events()
    for _ in range(100):
        peer.client.send_text(b"more")
    peer.flush()
    assert peer.transport.producerState == "producing"
    assert "expected a Queue behind receive()" in caplog.text
    assert "got NoneType and" in caplog.text
    peer.task.cancel()
    await settled()


# Messages over the limit


async def test_a_message_over_the_limit_comes_in(lent: Lent) -> None:
    """The client is told 1009, and so is the application; one at the limit is taken."""
    lent.peer.protocol.maxMessagePayloadSize = 100
    await lent.flood(100, 101)
    (frame,) = lent.peer.events()
    assert Close.parse(frame.data).code == 1009
    lent.peer.flush()
    assert len((await lent.receive())["bytes"]) == 100
    assert (await lent.receive())["code"] == 1009


async def test_what_breaks_the_protocol_is_dropped(lent: Lent) -> None:
    """Autobahn does not read on where it can't make sense of what comes."""
    await lent.flood(1)
    lent.peer.protocol.dataReceived(b"\xff\xff")
    assert not lent.peer.transport.connected
    assert await lent.frames() == []


async def test_a_message_over_the_limit_goes_out(lent: Lent) -> None:
    """The limit is for what clients send: a longer message reaches the client."""
    lent.peer.protocol.maxMessagePayloadSize = 100
    await lent.send({"type": "websocket.send", "bytes": b"x" * 101})
    first, last = lent.peer.events()
    assert (first.opcode, first.fin, first.data) == (Opcode.BINARY, False, b"x" * 101)
    assert (last.opcode, last.fin, last.data) == (Opcode.CONT, True, b"")


async def test_pings_of_a_client_that_never_reads(lent: Lent) -> None:
    """Pongs are not piled up: of the pings that came meanwhile the last is answered."""
    client = lent.peer.client
    client.send_ping(b"first")
    lent.peer.flush()
    lent.outflow.pauseProducing()
    for number in range(100):
        client.send_ping(b"%d" % number)
    lent.peer.flush()
    assert [frame.data for frame in lent.peer.events()] == [b"first"]
    lent.outflow.resumeProducing()
    lent.outflow.pauseProducing()
    lent.outflow.resumeProducing()
    assert [frame.data for frame in lent.peer.events()] == [b"99"]


async def test_a_message_in_small_fragments(lent: Lent) -> None:
    """It is kept in one piece, and comes whole."""
    lent.peer.client.send_binary(b"ab", fin=False)
    for _ in range(1000):
        lent.peer.client.send_continuation(b"cd", fin=False)
    lent.peer.flush()
    assert lent.peer.protocol.message_data == [b"ab" + b"cd" * 1000]
    lent.peer.client.send_continuation(b"e", fin=True)
    lent.peer.flush()
    assert (await lent.receive())["bytes"] == b"ab" + b"cd" * 1000 + b"e"
