"""``addresses.py``: whose address counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import RequestFactory, override_settings

from tests.fakes import scope
from wsconsumer.addresses import client_address
from wsconsumer.handshake.request import WebsocketRequest

if TYPE_CHECKING:
    from django.http import HttpRequest


def of_the_cdn(request: HttpRequest) -> str:
    """What a project says whose CDN sets a header of its own."""
    return request.headers.get("CF-Connecting-IP", "")


def test_the_server_says() -> None:
    """It is REMOTE_ADDR, of a page and of a websocket."""
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="192.0.2.1")) == "192.0.2.1"
    assert client_address(WebsocketRequest(scope(client=["2001:db8::1", 4711]))) == "2001:db8::1"


def test_a_header_is_not_believed() -> None:
    """What any client can send is not its address."""
    headers = [(b"x-forwarded-for", b"192.0.2.9"), (b"x-real-ip", b"192.0.2.9")]
    request = WebsocketRequest(scope(client=["192.0.2.1", 4711], headers=headers))
    assert client_address(request) == "192.0.2.1"


@pytest.mark.parametrize("client", [None, ["", 0]])
def test_a_unix_socket(client: list[str | int] | None) -> None:
    """Where a proxy connects by a unix socket, nobody knows it."""
    assert client_address(WebsocketRequest(scope(client=client))) is None


@override_settings(WSCONSUMER={"CLIENT_ADDRESS": f"{__name__}.of_the_cdn"})
def test_a_function_of_the_project() -> None:
    """CLIENT_ADDRESS names who knows better."""
    headers = [(b"cf-connecting-ip", b"192.0.2.7")]
    assert client_address(WebsocketRequest(scope(headers=headers))) == "192.0.2.7"
    assert client_address(WebsocketRequest(scope(client=["10.0.0.1", 1]))) is None
