"""``connection/closing.py``: many closes at once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.connection.test_deadlines import Server
from tests.fakes import close
from wsconsumer.connection import closing
from wsconsumer.connection.closing import PAUSE, PER_TURN, Closing
from wsconsumer.protocol import CLOSE_TIMEOUT, ConnectionState
from wsconsumer.test import advance
from wsconsumer.test.clock import turns

if TYPE_CHECKING:
    from wsconsumer.connection.connection import Connection


class Stuck(Server):
    """A server whose client takes nothing."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.close":
            await asyncio.get_running_loop().create_future()


async def make(kind: type[Server], number: int) -> list[tuple[Server, Connection]]:
    """Return servers with their connections."""
    servers = [kind() for _ in range(number)]
    return [(server, await server.connection()) for server in servers]


async def test_a_close_goes_out(caplog: pytest.LogCaptureFixture) -> None:
    """It is sent once, and the log says so."""
    caplog.set_level(logging.INFO, "wsconsumer")
    ((server, connection),) = await make(Server, 1)
    closes = Closing()
    assert closes.close(connection, 4501, "bye")
    assert not closes.close(connection, 4401, "again")
    await turns()
    assert server.sent == [close(4501, "bye")]
    assert caplog.messages == ["Chat: closing with 4501, bye."]


@pytest.mark.parametrize(
    ("reason", "text"),
    [("", "Chat: closing with 4501."), ("a\nb", r"Chat: closing with 4501, a\nb.")],
)
async def test_the_log_of_a_close(reason: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A close without a reason is told without one, and a reason forges no line."""
    caplog.set_level(logging.INFO, "wsconsumer")
    ((_, connection),) = await make(Server, 1)
    Closing().close(connection, 4501, reason)
    await turns()
    assert caplog.messages == [text]
    assert vars(caplog.records[0])["code"] == 4501


async def test_nothing_is_sent_any_more() -> None:
    """From the moment that they are to be closed, even those whose turn has not come."""
    made = await make(Server, 3 * PER_TURN)
    closes = Closing()
    for _, connection in made:
        closes.close(connection, 4501, "")
    assert {connection.state for _, connection in made} == {ConnectionState.CLOSING}
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < sum(bool(server.sent) for server, _ in made) < len(made)
    await turns()
    assert all(server.sent == [close(4501)] for server, _ in made)


async def test_one_that_takes_nothing_delays_nobody() -> None:
    """The others are closed at once, and it is given up after a while."""
    stuck, made = await make(Stuck, PER_TURN), await make(Server, 1)
    closes = Closing()
    for _, connection in [*stuck, *made]:
        closes.close(connection, 4501, "")
    await turns()
    assert made[0][0].sent == [close(4501)]
    await advance(CLOSE_TIMEOUT)
    assert not closes._under_way  # noqa: SLF001  # nothing is left


async def test_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If too many take nothing, the oldest are given up, so that the others get their close."""
    monkeypatch.setattr(closing, "MOST", PER_TURN)
    stuck, made = await make(Stuck, PER_TURN), await make(Server, 2)
    closes = Closing()
    for _, connection in [*stuck, *made]:
        closes.close(connection, 4501, "")
    await turns()
    assert [server.sent for server, _ in made] == [[], []]
    await advance(PAUSE)
    assert [server.sent for server, _ in made] == [[close(4501)]] * 2
    assert not closes._under_way  # noqa: SLF001  # they were given up


async def test_one_that_ends() -> None:
    """Whoever has gone is forgotten, whether its close is under way or waits."""
    stuck, made = await make(Stuck, PER_TURN), await make(Server, 1)
    closes = Closing()
    for _, connection in [*stuck, *made]:
        closes.close(connection, 4501, "")
    closes.forget(made[0][1])
    await turns()
    assert made[0][0].sent == []
    for _, connection in stuck:
        closes.forget(connection)
    await turns()
    assert not closes._under_way  # noqa: SLF001  # nothing is left
    closes.forget(made[0][1])
