"""``manage.py websockets --live`` and ``--close``: what they ask, print and refuse."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.cache import SessionStore
from django.core.management import CommandError, call_command

from tests.connected.members import Hanging, Member, Other
from wsconsumer import BackendError, serving
from wsconsumer.connected import asking
from wsconsumer.connected.asking import Answers
from wsconsumer.connected.facts import Facts
from wsconsumer.connected.questions import Answer
from wsconsumer.connected.words import age_in_words, rates_in_words
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.identities import hash_of_session
from wsconsumer.management import connections
from wsconsumer.processes import Process, this_process
from wsconsumer.test import connect, real_engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wsconsumer.connected.questions import Selection

HERE = f"{this_process().host}/{this_process().pid}"
KEY = "k" * 32


def run(*arguments: str) -> str:
    """Run the command; return what it printed."""
    out = io.StringIO()
    call_command("websockets", *arguments, stdout=out, stderr=out)
    return out.getvalue()


async def arun(*arguments: str) -> str:
    """Run the command beside the event loop that serves."""
    return await asyncio.to_thread(run, *arguments)


async def with_two(do: Callable[..., Awaitable[Any]]) -> Any:
    """Do something while two are connected."""
    ada: dict[str, Any] = {"user": User(pk=7), "session": SessionStore(KEY)}
    async with (
        connect(Member, "/ws/a/", kwargs={"groups": ["a", "b", "c", "d"]}, **ada) as one,
        connect(Other, "/ws/\u202e/", kwargs={"groups": []}) as two,
    ):
        await one.settle()
        await two.settle()
        return await do(one, two)


async def test_as_text() -> None:
    """Processes, a summary by consumer, then a line for each connection."""

    async def look(one: Any, two: Any) -> str:
        return await arun("--live")

    text: str = await with_two(look)
    lines = text.splitlines()
    assert lines[:2] == ["1 process answered.", f"{HERE} has 2 connections."]
    assert lines[3].split() == ["consumer", "connections"]
    assert sorted(line.split() for line in lines[4:6]) == [
        ["tests.connected.members.Member", "1"],
        ["tests.connected.members.Other", "1"],
    ]
    assert lines[7].split() == [*connections.COLUMNS]
    member, other = lines[8:]
    shown = hash_of_session(KEY)[:12]
    assert member.startswith(f"tests.connected.members.Member  /ws/a/       7          {shown}  ")
    assert "  a, b, c and 1 more  0       -           open   -       " in member
    assert member.endswith(f"  {HERE}")
    assert r"  /ws/\u202e/  anonymous  -  " in other


async def test_as_json() -> None:
    """The same for programs."""

    async def look(one: Any, two: Any) -> Any:
        return json.loads(await arun("--live", "--json", "--user=7"))

    report = await with_two(look)
    pid, host = this_process().pid, this_process().host
    assert report["processes"] == [
        {
            "host": host,
            "pid": pid,
            "is_whole": True,
            "is_draining": False,
            "connections": 2,
            "meant": 1,
        }
    ]
    assert report["consumers"] == {"tests.connected.members.Member": 1}
    (row,) = report["connections"]
    assert row.pop("age") >= 0
    assert row.pop("id")
    assert row == {
        "consumer": "tests.connected.members.Member", "path": "/ws/a/", "user": "7", "who": "",
        "session": hash_of_session(KEY)[:12], "groups": ["a", "b", "c", "d"], "group_count": 4,
        "outbox": 0, "state": "open", "hook": "", "server": "", "process": HERE,
        "received": None, "sent": None,
    }  # fmt: skip


async def test_a_limit_and_a_hook() -> None:
    """What is left out is counted, and a hook that runs is named."""
    async with connect(Hanging) as one, connect(Hanging) as two:
        await one.send("hang")
        await one.settle()
        await two.settle()
        text = await arun("--live", "--limit=1")
    assert "  open, in receive()  " in text
    assert text.endswith("... and 1 more.\n")


async def test_closing() -> None:
    """Those that are meant are closed, with counts for each process."""

    async def close(one: Any, two: Any) -> str:
        text = await arun("--close", f"--session={KEY}", "--no-input", "--reason=bye")
        assert (await one.receive_close(), one.close_reason) == (4501, "bye")
        assert two.close_code is None
        return text

    assert await with_two(close) == (
        f"{HERE} closes 1 connection.\n1 process answered. They close 1 connection with 4501.\n"
    )


async def test_closing_as_json() -> None:
    """Programs get the counts, too."""

    async def close(one: Any, two: Any) -> Any:
        text = await arun("--close", "--path=*", "--no-input", "--json", "--code=4000")
        assert (await one.receive_close(), await two.receive_close()) == (4000, 4000)
        return json.loads(text)

    pid, host = this_process().pid, this_process().host
    assert await with_two(close) == {
        "processes": [{"host": host, "pid": pid, "is_whole": True, "closed": 2}]
    }


@pytest.mark.parametrize(("answer", "is_closed"), [("y", True), ("", False), ("no", False)])
async def test_confirmation(answer: str, is_closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody is closed the command says how many are meant, and asks."""
    asked: list[str] = []

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return answer

    monkeypatch.setattr("builtins.input", reply)

    async def close(one: Any, two: Any) -> None:
        if is_closed:
            text = await arun("--close", "--group=a")
            assert "Meant: 1 connection (group a).\n" in text
            assert await one.receive_close() == 4501
        else:
            with pytest.raises(CommandError, match=r"Nothing was closed\."):
                await arun("--close", "--group=a")
            assert one.close_code is None

    await with_two(close)
    assert asked == ["Close them? [y/N] "]


async def test_nobody_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal nobody is closed, and the command says what to write."""
    monkeypatch.setattr("sys.stdin", io.StringIO())

    async def close(one: Any, two: Any) -> None:
        with pytest.raises(CommandError, match=r"Nothing was closed: .* Write --no-input"):
            await arun("--close", "--group=a")
        assert one.close_code is None

    await with_two(close)


async def test_nobody_to_close() -> None:
    """Where no connection matches, there is nothing to ask."""

    async def close(one: Any, two: Any) -> None:
        with pytest.raises(CommandError, match=r"Nothing was closed\."):
            await arun("--close", "--group=nobody")
        assert "No connection matches (path /c/).\n" in await arun("--live", "--path=/c/")

    await with_two(close)


async def test_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again and again until Ctrl-C, on a clear screen."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(connections, "sleep", pause)

    async def look(one: Any, two: Any) -> tuple[str, str]:
        text = await arun("--live", "--watch")
        pauses.clear()
        return text, await arun("--live", "--watch", "5", "--json")

    text, lines = await with_two(look)
    assert text.count(f"{connections.CLEAR}1 process answered.") == 2
    assert connections.CLEAR not in lines
    assert pauses == [5.0, 5.0]


async def test_a_process_that_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is going to stop is told as that."""
    monkeypatch.setattr(serving, "_draining", True)
    async with connect(Hanging) as ws:
        await ws.settle()
        text = await arun("--live", "--user=nobody")
    assert text == (
        f"1 process answered.\n{HERE} has 1 connection, and is going to stop.\n"
        "No connection matches (user nobody). --user takes a primary key.\n"
    )


async def test_nobody() -> None:
    """Where nobody answers, it is told when a process does."""
    text = await arun("--live", "--timeout=0.05")
    assert text == "No process answered. A process does once it has had a websocket.\n"


def test_what_came_over_the_engine_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes to the engine writes nothing to a terminal."""
    bad = "\x1b[31m"

    async def answer(selection: Selection, **more: Any) -> Answers:
        answers = Answers()
        row = Facts("x-1", bad, bad, bad, bad, bad, 1.0, (bad,), 2, 0, bad, bad, bad)
        other = Facts("y-1", "Lost", f"/{'x' * 100}")
        process = Process(bad, 1, bad)
        answers.add(Answer(process, "x", 0, [row, other]), 0.0)
        answers.add(Answer(process, "z", 0, is_last=True, consumers={bad: 1}), 0.0)
        return answers

    monkeypatch.setattr(connections, "who_is_connected", answer)
    monkeypatch.setattr(serving, "_serving", True)
    text = run("--live")
    assert bad not in text
    assert r"\x1b[31m/1 has 0 connections, and not all of its answer came." in text
    assert f"/{'x' * 56}...  " in text
    assert bad not in run("--live", "--json")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--close"], "--close expects one or more of --user"),
        (["--close", "--consumer=Chat"], "--close expects one or more of --user"),
        (["--close", "--user=1", "--watch"], "--close can't be combined with --watch"),
        (["--close", "--user=1", "--limit=1"], "--close can't be combined with --limit"),
        (["--close", "--user=1", "--json"], "--close --json can't ask for confirmation"),
        (["--live", "--routes"], "--live can't be combined with --routes"),
        (
            ["--live", "--code=4000", "--reason=bye", "--no-input"],
            "--live can't be combined with --code, --reason, --no-input",
        ),
        (["--code=4000", "--timeout=5"], "Expected --live or --close with --timeout, --code, got"),
        (["--live", "--limit=-1"], "--limit: expected an int of at least 0, got '-1'"),
        (["--live", "--timeout=0"], "--timeout: expected seconds, more than 0 and at most 86400"),
        (["--live", "--watch=nan"], "--watch: expected seconds, more than 0 .*, got 'nan'"),
        (["--live", "--watch=x"], "--watch: expected seconds, more than 0 .*, got 'x'"),
        (["--close", "--user=1", "--code=1005"], "--close can't send the close code 1005"),
        (["--live", "--close"], "not allowed with argument"),
        (["--live", f"--path={'x' * 500}"], "No connection can be meant: Expected `str` of length"),
        (["--user=1", "--watch=2"], "Expected --live or --close with --user, --watch, got neither"),
    ],
)
def test_what_makes_no_sense(
    arguments: list[str], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake is told before anybody is asked."""
    monkeypatch.setattr(serving, "_serving", True)
    with pytest.raises(CommandError, match=error):
        run(*arguments)


@pytest.mark.parametrize("what", [["--live"], ["--close", "--user=1"]])
def test_groups_in_memory(what: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command can't reach into the memory of a server, and says what can."""
    monkeypatch.setattr(serving, "_serving", False)
    with pytest.raises(CommandError, match=r"Open the staff page \(wsconsumer\.staff\)"):
        run(*what)


class Away(MemoryBackend):
    """An engine that is away."""

    is_local = False

    async def publish(self, group: str, body: bytes) -> None:
        raise BackendError("It is away") from OSError("redis://me:hunter2@host")


def test_an_engine_that_is_away(settings: Any) -> None:
    """Why is told, without passwords."""
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": f"{__name__}.Away", "PREFIX": "away"}}
    with real_engine(), pytest.raises(CommandError, match=r"It is away: redis://me:\*\*\*@host"):
        run("--live")


def test_an_engine_that_hangs(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that answers nothing is told, too."""
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    name = "tests.connected.test_asking.Hanging"
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": name, "PREFIX": "hanging"}}
    with real_engine(), pytest.raises(CommandError, match="did not answer within"):
        run("--live")


def test_settings_that_can_not_work(settings: Any) -> None:
    """A mistake in the settings is told as everywhere."""
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": "no.such.Backend"}}
    with real_engine(), pytest.raises(CommandError, match=r"names the backend 'no\.such\.Backend'"):
        run("--live")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0s"), (59, "59s"), (61, "1m01s"), (3_600, "1h00m"), (90_061, "1d01h")],
)
def test_ages(seconds: float, text: str) -> None:
    """An age is told by its two largest units."""
    assert age_in_words(seconds) == text


@pytest.mark.parametrize(
    ("received", "sent", "text"),
    [(None, None, ""), (0.0, 12.0, "0 in, 12 out"), (0.25, 1234.5, "0.25 in, 1234.5 out")],
)
def test_rates(received: float | None, sent: float | None, text: str) -> None:
    """Messages a second are shown where they are counted."""
    assert rates_in_words(Facts("1", "mysite.Chat", "/", received=received, sent=sent)) == text
