"""``identities.py``: whose a websocket is, as far as memory knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from tests.test_disconnecting import ADA, session, session_of_ada
from wsconsumer.identities import (
    Login,
    UserKey,
    hash_of_session,
    ignore_session,
    key_of_session,
    key_of_user,
    login_of,
)
from wsconsumer.sessions import make_snapshot


def request(**facts: Any) -> Any:
    """Return as much of a request as is looked at."""
    return SimpleNamespace(**facts)


def never() -> Any:
    """Fail, if a lazy object is loaded."""
    pytest.fail("it was loaded")


def test_a_hash_tells_nothing() -> None:
    """It is keyed by SECRET_KEY, and as long as it needs to be."""
    found = hash_of_session("a")
    assert len(found) == 32
    assert found != hash_of_session("b")
    with override_settings(SECRET_KEY="another"):
        assert found != hash_of_session("a")


STRANGER = SimpleNamespace(is_authenticated=True)

SESSIONS: list[tuple[str, dict[str, Any], str | None]] = [
    ("nothing", {}, None),
    ("no session", {"user": ADA, "session": None}, None),
    ("a dict", {"session": {"a": 1}}, None),
    ("a visitor", {"session": session("s")}, "s" * 32),
    ("anonymous", {"user": AnonymousUser(), "session": session("s")}, "s" * 32),
    ("not loaded", {"user": SimpleLazyObject(never), "session": session("s")}, "s" * 32),
    ("lazy session", {"session": SimpleLazyObject(never)}, None),
    ("a login", {"user": ADA, "session": session_of_ada("s")}, "s" * 32),
    ("somebody else", {"user": User(pk=2), "session": session_of_ada("s")}, "s" * 32),
    ("no login", {"user": ADA, "session": session("s")}, None),
    ("not loaded session", {"user": ADA, "session": SessionStore("s" * 32)}, None),
    ("no model", {"user": STRANGER, "session": session("s")}, None),
]


@pytest.mark.parametrize(("name", "facts", "key"), SESSIONS, ids=[row[0] for row in SESSIONS])
def test_the_session(name: str, facts: dict[str, Any], key: str | None) -> None:
    """It is the session's of the cookie, unless the user came from elsewhere."""
    found: Any = facts.get("session")
    if key is not None:
        found._session_key = key  # noqa: SLF001  # those of the table are shared
    assert key_of_session(request(**facts)) == key


def test_a_token() -> None:
    """A request whose user came from a token has no session that counts."""
    found = request(user=ADA, session=session_of_ada())
    ignore_session(found)
    assert key_of_session(found) is None


def test_a_snapshot_remembers() -> None:
    """What a hook does to the session changes nothing about whose the websocket is."""
    found = session_of_ada()
    make_snapshot(found, found.session_key)
    found.clear()
    found._session_key = None  # noqa: SLF001  # as flush() does
    assert login_of(found) == Login("1", "x", "y")
    assert key_of_session(request(user=ADA, session=found)) == "k" * 32


def test_a_login_without_a_hash() -> None:
    """A session may lack what Django writes there."""
    assert login_of(session(_auth_user_id="1")) == Login("1", "", "")
    assert login_of(SessionStore("s")) is None


class Number(int):
    """A key that can't be shown."""

    def __str__(self) -> str:
        pytest.fail("it ran")

    __repr__ = __str__


class Word(str):
    """The same as text."""

    __slots__ = ()
    __str__ = __repr__ = Number.__str__


def test_users() -> None:
    """A user is a model and a key; without a key it is nobody's, and no code of a key's runs."""
    assert key_of_user(ADA) == UserKey("auth.user", "1")
    assert key_of_user(Group(pk=3)) == UserKey("auth.group", "3")
    assert key_of_user(User(pk=Number(3))) == UserKey("auth.user", "3")
    assert key_of_user(User(pk=Word("x"))) == UserKey("auth.user", "x")
    uuid, odd = cast("Any", (UUID(int=1), 1.5))
    assert key_of_user(User(pk=uuid)) == UserKey("auth.user", str(UUID(int=1)))
    for nobody in (User(), User(pk=odd), AnonymousUser(), None, STRANGER):
        assert key_of_user(nobody) is None
