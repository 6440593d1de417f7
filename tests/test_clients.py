"""``clients.py``: who a client is where connections are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings

from tests.fakes import scope
from wsconsumer import WebsocketConsumer
from wsconsumer.clients import _explain_unknown, entry_of, is_counted, neighbourhood
from wsconsumer.handshake.request import WebsocketRequest

if TYPE_CHECKING:
    from django.http import HttpRequest


class Chat(WebsocketConsumer):
    """Has limits as the settings say."""


def chat(user: Any = None, client: list[object] | None = None, **limits: int) -> Chat:
    """Return a consumer with a request."""
    consumer = Chat(**limits)
    consumer.setup(WebsocketRequest(scope(client=client, user=user)))
    return consumer


NAME = f"{__name__}.Chat"


def test_a_user_is_counted_by_class() -> None:
    """The key names model, primary key and class, and comes with the limit."""
    counted = chat(User(pk=5), max_connections_per_user=3)
    assert entry_of(counted) == ((f"user:auth.User:5:{NAME}", 3),)
    assert is_counted(counted)


@pytest.mark.parametrize(
    "user", [None, AnonymousUser(), User(), SimpleNamespace(pk=5)],
    ids=["none", "anonymous", "unsaved", "no-model"],
)  # fmt: skip
def test_who_is_no_user(user: object) -> None:
    """Nobody else is counted as one."""
    assert entry_of(chat(user, max_connections_per_user=3)) == ()


def test_nothing_is_counted_without_a_limit() -> None:
    """Unless the class or the settings say so."""
    assert entry_of(chat(User(pk=5), ["192.0.2.1", 1])) == ()
    assert not is_counted(chat())
    with override_settings(WSCONSUMER={"MAX_CONNECTIONS_PER_ADDRESS": 7}):
        assert is_counted(chat())
        assert entry_of(chat(client=["192.0.2.1", 1])) == ((f"address:192.0.2.1:{NAME}", 7),)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("office", "office"),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    """An IPv4 address, however it is written; a network of IPv6; whatever else a project says."""
    assert neighbourhood(address) == counted


def of_header(request: HttpRequest) -> str:
    """Say who it is."""
    return str(request.META["HTTP_X_CLIENT"])


@override_settings(WSCONSUMER={"CLIENT_ADDRESS": f"{__name__}.of_header"})
def test_a_project_says_itself_whose_address_it_is() -> None:
    """CLIENT_ADDRESS counts here too; a very long one is not kept as it is."""
    long = "x" * 5000

    def key(header: str) -> str:
        consumer = Chat(max_connections_per_address=2)
        headers = [(b"host", b"testserver"), (b"x-client", header.encode())]
        consumer.setup(WebsocketRequest(scope(headers=headers)))
        ((found, _),) = entry_of(consumer)
        return found

    assert key("192.0.2.7") == f"address:192.0.2.7:{NAME}"
    assert len(key(long)) == 65
    assert key(long) != key(f"{long}y")


def test_an_address_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    """It is not counted, and the log says so once."""
    _explain_unknown.cache_clear()
    for _ in range(2):
        assert entry_of(chat(max_connections_per_address=2)) == ()
    (line,) = caplog.messages
    assert line.startswith("max_connections_per_address limits nothing here: nobody knows the")
    _explain_unknown.cache_clear()
