"""``connected/questions.py``: which connections are meant."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.cache import SessionStore

from tests.connected.members import Member, Other, asked
from wsconsumer.connected.facts import SHOWN
from wsconsumer.connected.questions import Selection, WhoIsConnected, session_named, user_named
from wsconsumer.identities import hash_of_session
from wsconsumer.test import connect

KEY = "k" * 32
HASH = hash_of_session(KEY)

CLIENTS: dict[str, dict[str, Any]] = {
    "ada": {"user": User(pk=1), "session": SessionStore(KEY), "groups": ["room.1", "news"]},
    "bob": {"user": User(pk=11), "session": SessionStore("b" * 32), "groups": ["room.2"]},
    "eve": {"user": None, "session": None, "groups": []},
}
PATHS = {"ada": "/ws/a[b]?/", "bob": "/ws/ab/", "eve": "/Ws/a/"}


@pytest.mark.parametrize(
    ("chosen", "meant"),
    [
        ({}, ["ada", "bob", "eve"]),
        ({"user": "1"}, ["ada"]),
        ({"user": "1*"}, []),
        ({"session": HASH}, ["ada"]),
        ({"session": HASH[:SHOWN]}, ["ada"]),
        ({"session": "0" * SHOWN}, []),
        ({"group": "room.2"}, ["bob"]),
        ({"group": "room.*"}, ["ada", "bob"]),
        ({"group": "room."}, []),
        ({"path": "/ws/ab/"}, ["bob"]),
        ({"path": "/ws/*"}, ["ada", "bob"]),
        ({"path": "/ws/a[b]*"}, ["ada"]),
        ({"path": "/ws/??/*"}, []),
        ({"path": "*"}, ["ada", "bob", "eve"]),
        ({"consumer": "Other"}, ["eve"]),
        ({"consumer": "tests.connected.members.Other"}, ["eve"]),
        ({"consumer": "*.members.*"}, ["ada", "bob", "eve"]),
        ({"consumer": "ther"}, []),
        ({"user": "1", "group": "room.*", "path": "/ws/*"}, ["ada"]),
        ({"user": "1", "group": "room.2"}, []),
    ],
)
async def test_who_is_meant(chosen: dict[str, str], meant: list[str]) -> None:
    """All that is said has to be true of a connection; a star stands for any characters."""
    async with AsyncExitStack() as stack:
        for name, facts in CLIENTS.items():
            groups, kind = facts["groups"], Other if name == "eve" else Member
            more = {"user": facts["user"], "session": facts["session"]}
            path = PATHS[name].replace("?", "%3F")
            opening = connect(kind, path, kwargs={"groups": groups}, **more)
            await (await stack.enter_async_context(opening)).settle()
        answers = await asked(Selection(**chosen))
    by_path = {path: name for name, path in PATHS.items()}
    assert sorted(by_path[row.path] for row in answers.rows) == meant
    assert answers.consumers.total() == len(meant)
    (report,) = answers.reports
    assert (report.total, report.meant) == (3, len(meant))


async def test_a_connection_by_its_name() -> None:
    """The id that is told means one connection, and stays the same."""
    async with (
        connect(Member, "/one/", kwargs={"groups": []}),
        connect(Member, "/two/", kwargs={"groups": []}) as ws,
    ):
        await ws.settle()
        one, two = sorted((await asked()).rows, key=lambda row: row.path)
        assert one.id != two.id
        assert [row.path for row in (await asked(Selection(connection=two.id))).rows] == ["/two/"]


def test_in_words() -> None:
    """The log and the prompt say what is meant."""
    assert str(Selection(user="1", group="room.*")) == "user 1, group room.*"


def test_whether_anybody_is_left_out() -> None:
    """One that says nothing is false, so that nobody closes all by mistake."""
    assert not Selection()
    assert Selection(path="*")


def test_sessions_by_key_or_hash() -> None:
    """Whoever has a key sends its hash; what is shown of a hash is taken as that."""
    assert session_named(KEY) == HASH
    assert session_named(HASH[:SHOWN]) == HASH[:SHOWN]


@pytest.mark.parametrize(("value", "shown"), [("07", "7"), (" 7", "7"), ("ada", "ada")])
def test_users_as_they_are_written(value: str, shown: str) -> None:
    """A primary key may be written otherwise than it is shown; users may be of another model."""
    assert user_named(value) == shown


@pytest.mark.parametrize(
    "question",
    [
        b'{"reply": "room.lobby"}',
        b'{"reply": "0123456789abcdef\\n"}',
        b'{"reply": "0123456789abcdef", "selection": {"session": "%"}}',
        b'{"reply": "0123456789abcdef", "selection": {"path": "%s"}}' % (b"x" * 500),
    ],
    ids=["channel", "line break", "session", "long"],
)
def test_questions_that_are_refused(question: bytes) -> None:
    """Whoever can write to the engine chooses no channel, and no endless pattern."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(question, type=WhoIsConnected)
