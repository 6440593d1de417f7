"""The page at `/`, as Django's test client sees it."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
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
        ("greeting", consumers.GreetingConsumer),
        ("members", consumers.MembersConsumer),
    ],
)
def test_the_page_has_a_card_for_each_socket(
    client: Client, name: str, consumer: type[WebsocketConsumer]
) -> None:
    """The page names the path of each socket, and shows its consumer and its URL pattern."""
    page = client.get(reverse("demo:index")).content.decode()
    assert f'data-socket="{reverse(f"demo:{name}")}"' in page
    assert escape(inspect.getsource(consumer)) in page
    assert re.search(rf">path\(&quot;ws/{name}/&quot;, .* name=&quot;{name}&quot;\),<", page)


def test_a_stranger_is_told_why_members_is_closed(client: Client) -> None:
    """Without a login the page offers one, and has the words for the refusal."""
    page = client.get(reverse("demo:index")).content.decode()
    assert f'href="{reverse("accounts:login")}"' in page
    assert "login_required answered with a redirect to the login page" in page
    assert "login_required(consumers.MembersConsumer.as_view())" in page


def test_a_member_is_named(client: Client, db: None) -> None:
    """With a login the page names the user, offers to log out, and speaks of no refusal."""
    client.force_login(User.objects.create_user("ada"))
    page = client.get(reverse("demo:index")).content.decode()
    assert ">ada</b>" in page
    assert f'action="{reverse("accounts:logout")}"' in page
    assert "login_required answered" not in page


def test_the_project_passes_the_system_checks() -> None:
    """Django finds nothing to complain about in the project."""
    call_command("check", fail_level="WARNING")
