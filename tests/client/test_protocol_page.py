"""``docs/protocol.md``: server and client do what its tables say."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.client.running import node
from tests.documents import ROOT
from tests.groups.test_kept import page
from wsconsumer import CloseCode, Group, WebsocketConsumer, abroadcast, framing
from wsconsumer.connection import heartbeats, own_client
from wsconsumer.groups import declared, reloads
from wsconsumer.groups.histories import histories
from wsconsumer.test import advance, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from wsconsumer.test import Websocket

PAGE = ROOT / "docs" / "protocol.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the tests are run without the documents")


@cache
def table(heading: str) -> list[list[str]]:
    """Return the rows of the only table of the page with these words in its first line."""
    (found,) = re.findall(
        rf"^\| {re.escape(heading)} \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE
    )
    return [[cell.strip() for cell in row.strip("|\n").split("|")] for row in found.splitlines()]


# The parameter of the URL


def test_its_members() -> None:
    """The table has those that the server reads."""
    members = [row[0].strip("`") for row in table("member | meaning")]
    assert members == [field.name for field in msgspec.structs.fields(framing.Page)]


def test_the_parameter_of_the_example() -> None:
    """It says what the text before it says."""
    (found,) = re.findall(r"/ws/room/lobby/\?(wsc=[\w-]+)", PAGE.read_text())
    assert framing.read_page(found.encode()).at == {"room.lobby": ("5fe2", 41)}


# Frames


class Room(WebsocketConsumer):
    """Does what a row of the table is about."""

    async def connect(self) -> None:
        await self.join("news")
        if self.kwargs.get("keeps"):
            await self.join("room.lobby")

    async def receive(self, data: str | bytes) -> None:
        if data == "broadcast":
            await self.broadcast("room.lobby", "mine", include_self=False)
        else:
            await self.send(data)


class Stateful(Room):
    """Sends its state itself."""

    async def group_reset(self, group: str) -> None:
        await self.send("the state")


@pytest.fixture
def _room() -> Iterator[None]:
    histories.clear()
    with declared.only():
        Group("room.{slug}", keep=5)
        yield


@asynccontextmanager
async def room(
    told: int, at: tuple[str, int] | None = None, consumer: type[Room] = Room
) -> AsyncIterator[Websocket]:
    """Open a page in a room that was told something so many times, and has seen it up to `at`."""
    for number in range(told):
        await abroadcast("room.lobby", f"{number}")
    places = {"room.lobby": at} if at else {}
    async with page(consumer, places, kwargs={"keeps": True}) as ws:
        yield ws


async def sent(data: str) -> Any:
    async with page(Room) as ws:
        await ws.send(data)
        return await ws.receive()


async def told_of_news() -> Any:
    async with page(Room) as ws:
        await abroadcast("news", "hello")
        return await ws.receive()


async def joined() -> Any:
    async with room(41) as ws:
        return await ws.receive()


async def told_in_room() -> Any:
    async with room(41) as ws:
        await ws.receive()
        await abroadcast("room.lobby", "hello")
        return await ws.receive()


async def skipped() -> Any:
    async with room(42) as ws:
        await ws.receive()
        await ws.send("broadcast")
        return await ws.receive()


async def lost(consumer: type[Room] = Room) -> Any:
    async with room(7, ("of another history", 3), consumer) as ws:
        return await ws.receive()


async def lost_by_many() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reloads, "PER_SECOND", 1 / 30)
        return await lost()


async def beat() -> Any:
    async with page(Room) as ws:
        await advance(heartbeats.PERIOD + 1)
        return await ws.receive()


FROM_SERVER: dict[str, tuple[Callable[[], Awaitable[Any]], Any]] = {
    "hello": (lambda: sent("hello"), {"told": ["hello"]}),
    "␞{}⏎␞hello": (lambda: sent("\x1e{}\n\x1ehello"), {"told": ["\x1ehello"]}),
    '␞{"group":"news"}⏎hello': (told_of_news, {"told": ["hello"]}),
    '␞{"joined":"room.lobby","epoch":"5fe2","offset":41}': (joined, {"at": ["5fe2", 41]}),
    '␞{"group":"room.lobby","offset":42}⏎hello': (
        told_in_room,
        {"told": ["hello"], "at": ["5fe2", 42]},
    ),
    '␞{"group":"room.lobby","offset":43,"skip":true}': (skipped, {"at": ["5fe2", 43]}),
    '␞{"joined":"room.lobby","epoch":"9c01","offset":7,"reload":true}': (
        lost,
        {"told": ["reload"], "at": ["9c01", 7]},
    ),
    '␞{"joined":"room.lobby","epoch":"9c01","offset":7,"reload":true,"seconds":30}': (
        lost_by_many,
        {"later": ["reload"], "at": ["9c01", 7]},
    ),
    '␞{"joined":"room.lobby","epoch":"9c01","offset":7,"reload":false}': (
        lambda: lost(Stateful),
        {"at": ["9c01", 7]},
    ),
    '␞{"ping":25}': (beat, {"sent": ['\x1e{"pong":1}']}),
}
"""Each frame: how the server is made to send it, and what the client makes of it."""

FROM_CLIENT: dict[str, tuple[str, str | None]] = {
    "hello": ("hello", "hello"),
    "␞{}⏎␞hello": ("\x1ehello", "\x1ehello"),
    '␞{"pong":1}': ("", None),
}
"""Each frame: what the page sends, if it does, and what `receive()` gets, if anything."""


def unwritten(frame: str) -> str:
    """Return a frame of the page as it goes over the wire."""
    return frame.replace("⏎", "\n").replace("␞", "\x1e")


def rows(heading: str) -> list[str]:
    return [row[0].strip("`") for row in table(heading)]


@cache
def asked() -> Any:
    """Ask the client about everything in the tables."""
    sends = {frame: given for frame, (given, _) in FROM_CLIENT.items() if given}
    questions = {"frames": rows("from the server | meaning"), "codes": [*fates()], "sends": sends}
    return json.loads(node("asked.mjs", ASKED=json.dumps(questions)))


def test_the_tables_of_frames_are_complete() -> None:
    """No row without a test, and no test without a row."""
    assert rows("from the server | meaning") == list(FROM_SERVER)
    assert rows("from the client | meaning") == list(FROM_CLIENT)


@pytest.mark.usefixtures("_room")
@pytest.mark.parametrize("frame", FROM_SERVER)
async def test_the_server_sends(frame: str) -> None:
    """The frame of the table, but for the epoch, which is random."""
    found = await FROM_SERVER[frame][0]()
    found = re.sub(r'(?<="epoch":")[^"]+', "EPOCH", found)
    assert found == unwritten(re.sub(r"5fe2|9c01", "EPOCH", frame))


@pytest.mark.parametrize("frame", FROM_SERVER)
def test_the_client_understands(frame: str) -> None:
    """It tells its page of a message or that it should reload, counts, and answers."""
    found = {**asked()["frames"][frame]}
    for when in ("told", "later"):
        found[when] = [event.get("data", event["type"]) for event in found[when]]
    expected = {"told": [], "later": [], "sent": [], "at": ["5fe2", 40], **FROM_SERVER[frame][1]}
    assert found == expected


@pytest.mark.parametrize("frame", FROM_CLIENT)
async def test_the_server_understands(frame: str) -> None:
    """`receive()` gets what is the application's."""
    expected = FROM_CLIENT[frame][1]
    async with page(Room) as ws:
        await ws.send(unwritten(frame))
        if expected is None:
            await ws.expect_nothing()
        else:
            assert await ws.receive() in (expected, f"\x1e{{}}\n{expected}")


@pytest.mark.parametrize("frame", [frame for frame, (given, _) in FROM_CLIENT.items() if given])
def test_the_client_sends(frame: str) -> None:
    """The frame of the table. The answer to a heartbeat is in the other table."""
    assert asked()["sends"][frame] == [unwritten(frame)]


async def test_who_does_not_offer_the_subprotocol() -> None:
    """Gets bare messages."""
    async with connect(Room) as ws:
        await abroadcast("news", "\x1ehello")
        assert await ws.receive() == "\x1ehello"


# Closing codes


@cache
def fates() -> dict[int, str]:
    """Return what a client does by code; of a range, its ends and one inside count."""
    found: dict[int, str] = {}
    for codes, _, fate in table("code | when | the client"):
        if "-" in codes:
            first, last = map(int, codes.split("-"))
            for code in (first, first + 21, last):
                found.setdefault(code, fate)
        else:
            found |= dict.fromkeys(map(int, codes.split(",")), fate)
    return found


def test_every_code_of_ours_is_in_the_table() -> None:
    """Those that the server sends by itself, and that RFC 6455 does not leave to extensions."""
    left_out = {1002, 1003, 1008, 1010, 1014}  # never of ours; they are treated as 1000 is
    named = {
        int(code)
        for row in table("code | when | the client")
        for code in re.findall(r"\d+", row[0])
    }
    assert {code.value for code in CloseCode} - named == left_out


def test_the_client_comes_back_or_stays_away() -> None:
    """As the table says."""
    once = {"comes back once": "comes back once, after 2000"}
    assert asked()["codes"] == {f"{code}": once.get(fate, fate) for code, fate in fates().items()}


def test_the_codes_of_denials() -> None:
    """A status that is told as a code, and no other."""
    found: dict[int, int] = {}
    for status, code in table("status | code"):
        found |= {int(number): int(code) for number in re.findall(r"\d+", status)}
    assert found == own_client.CODES
    assert own_client.close_for_denial(HTTPStatus.SERVICE_UNAVAILABLE, ()) is None


# Numbers in the text


@pytest.mark.parametrize(
    "words",
    [
        f"every {heartbeats.PERIOD} seconds",
        f"before\nthe first one: {2 * heartbeats.PERIOD} seconds",
        f"at most {framing.MAX_PARAMETER:,} characters",
        f"up to {framing.MAX_ID} characters",
        f"so many seconds, {reloads.LONGEST} at most",
    ],
)
def test_numbers(words: str) -> None:
    """The page has those of the code."""
    assert words in PAGE.read_text()
