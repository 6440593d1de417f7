"""The page at `/`, as Django's test client sees it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils.html import escape

from demo import consumers

if TYPE_CHECKING:
    from django.test import Client

    from wsconsumer import WebsocketConsumer


@pytest.mark.parametrize(
    ("name", "consumer"),
    [
        ("ping", consumers.PingConsumer),
        ("echo", consumers.EchoConsumer),
        ("clock", consumers.ClockConsumer),
    ],
)
def test_the_page_has_a_card_for_each_socket(
    client: Client, name: str, consumer: type[WebsocketConsumer]
) -> None:
    """The page names the path of each socket, and shows the code of its consumer."""
    page = client.get(reverse("demo:index")).content.decode()
    assert f'data-socket="{reverse(f"demo:{name}")}"' in page
    assert escape(inspect.getsource(consumer)) in page


def test_the_project_passes_the_system_checks() -> None:
    """Django finds nothing to complain about in the project."""
    call_command("check", fail_level="WARNING")
