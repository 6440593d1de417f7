"""The Autobahn suite against every server: with a consumer, and with a plain ASGI echo.

A case that fails is in the table of known failures, or the test fails; a row whose case passes
fails the test too. The plain echo tells whose failure it is.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.servers.autobahn import CASES
from tests.servers.autobahn_case import (
    INVALID_PAYLOAD,
    NORMAL,
    REFUSED_CLOSE,
    Case,
    Event,
    Grade,
    Outcome,
    Verdict,
    judge,
    play,
)
from tests.servers.harness import COMMANDS, Server, new_key, running

PLAIN = "tests.servers.project.plain:application"

AT_ONCE = 50
"""Connections at a time: as many as the smallest backlog of a server holds."""

EMPTY_MESSAGES = {"1.1.1", "1.2.1", "6.1.1", "6.1.2"}
CLOSE_BETWEEN_FRAGMENTS = {"7.1.5"}

FAILURES = {
    # Daphne drops empty messages of any application; the adapter sends them.
    ("daphne", "plain"): EMPTY_MESSAGES,
    # websockets takes a close frame between two fragments for a protocol error: 1002, not 1000.
    ("uvicorn-sansio", "plain"): CLOSE_BETWEEN_FRAGMENTS,
    ("uvicorn-sansio", "consumer"): CLOSE_BETWEEN_FRAGMENTS,
}
"""By server and application, the cases that fail."""

LATE = {
    # It decodes a message when all its fragments are there.
    "uvicorn-sansio": {"6.4.1", "6.4.2", "6.4.3", "6.4.4"},
    # They decode fragments as they come, and each as a whole.
    "uvicorn-websockets": {"6.4.3", "6.4.4"},
    "granian": {"6.4.3", "6.4.4"},
}
"""By server, the cases of failing fast in which it is slow: NON-STRICT, which is allowed."""


async def play_all(server: Server, keys: list[str]) -> dict[str, Verdict]:
    """Play each case on a connection of its own, and judge it."""
    places = asyncio.Semaphore(AT_ONCE)

    async def verdict(case: Case, key: str) -> Verdict:
        async with places:
            return judge(case, await play(case, server.port, f"/ws/echo/{key}/"))

    verdicts = await asyncio.gather(*map(verdict, CASES, keys))
    return {case.name: verdict for case, verdict in zip(CASES, verdicts, strict=True)}


def check(server: Server, application: str, verdicts: dict[str, Verdict]) -> None:
    """Compare the verdicts with what is known of the server."""
    known = FAILURES.get((server.name, application), set())
    failed = {case: v.why for case, v in verdicts.items() if v.grade is Grade.FAILED}
    assert {case: why for case, why in failed.items() if case not in known} == {}
    assert known - set(failed) == set(), "these pass now: take them out of the table"
    late = {case for case, v in verdicts.items() if v.grade is Grade.NON_STRICT}
    assert {case for case in late if case.startswith("6.4.")} == LATE.get(server.name, set())


async def test_consumer(server_name: str, tmp_path: Path) -> None:
    """
    A consumer's echo passes; `disconnect()` runs once in every case.

    Nothing is logged but the client's own 1009 of case 7.7.7.
    """
    keys = [new_key() for _ in CASES]
    with running(server_name, tmp_path) as server:
        check(server, "consumer", await play_all(server, keys))
        await server.journal.wait(*keys, event="end")
        disconnects = Counter(
            event["key"] for event in server.journal.events() if event["event"] == "disconnect"
        )
        assert disconnects == dict.fromkeys(keys, 1)
        told = [e["text"] for e in server.journal.logged() if e["level"] != "INFO"]
        assert [text for text in told if "was closed with 1009" not in text] == []
        assert len(told) <= 1


async def test_plain_application(server_name: str, tmp_path: Path) -> None:
    """The server by itself passes and fails as known, so that nobody blames the package."""
    with running(server_name, tmp_path, PLAIN) as server:
        check(server, "plain", await play_all(server, [new_key() for _ in CASES]))


def test_the_table_has_every_case() -> None:
    """The table has as many cases in each group as the suite has, each once."""
    sizes = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "10": 1}
    assert Counter(case.name.split(".")[0] for case in CASES) == sizes
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_known_failures_name_cases_and_servers() -> None:
    """A row for an unknown server or case would never be put to the test."""
    assert {server for server, _ in FAILURES} | set(LATE) <= set(COMMANDS)
    assert set().union(*FAILURES.values(), *LATE.values()) <= {case.name for case in CASES}


HI: Event = ("text", b"hi")
ECHO = Case("echo", (), (HI,), NORMAL, closes_when_done=True)
REFUSE = Case("refuse", (), (HI,), INVALID_PAYLOAD, non_strict=())
BAD_CLOSE = Case("bad close", (), (), REFUSED_CLOSE)
UNDEFINED = Case("undefined", (), (), NORMAL, is_informational=True)


@pytest.mark.parametrize(
    ("case", "outcome", "grade", "why"),
    [
        (ECHO, Outcome([HI], True, True, 1000, True), "OK", ""),
        (ECHO, Outcome([HI], True, True, None, True), "OK", ""),
        (ECHO, Outcome([], True, True, 1000, True), "FAILED", "expected [('text', b'hi', 2)]"),
        (ECHO, Outcome([HI, HI], True, True, 1000, True), "FAILED", "got [('text'"),
        (ECHO, Outcome([HI], True, True, 1000, False), "FAILED", "left the TCP connection open"),
        (ECHO, Outcome([HI], True, False, None, True), "FAILED", "dropped without a close frame"),
        (ECHO, Outcome([HI], False, True, 1000, True), "FAILED", "closed by the server"),
        (ECHO, Outcome([HI], True, True, 1011, True), "FAILED", "got 1011"),
        (REFUSE, Outcome([HI], False, True, 1007, True), "OK", ""),
        (REFUSE, Outcome([HI], None, False, None, True), "OK", ""),
        (REFUSE, Outcome([], False, True, 1007, True), "NON-STRICT", ""),
        (REFUSE, Outcome([HI], None, False, None, False), "FAILED", "left the TCP connection open"),
        (REFUSE, Outcome([HI], False, True, 1002, True), "FAILED", "got 1002"),
        (BAD_CLOSE, Outcome([], True, False, None, True), "OK", ""),
        (BAD_CLOSE, Outcome([], True, True, 1000, True), "FAILED", "got 1000"),
        (UNDEFINED, Outcome([HI], None, False, None, False), "INFORMATIONAL", ""),
    ],
)
def test_judge(case: Case, outcome: Outcome, grade: str, why: str) -> None:
    """A verdict looks at what was heard, at who closed, how and with what code."""
    verdict = judge(case, outcome)
    assert verdict.grade == grade
    assert why in verdict.why
