"""The page of all messages, as `config/urls.py` maps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import Settings

PAGE = reverse("wsconsumer_docs:page")


@pytest.mark.django_db
def test_the_messages_of_the_chat(client: Client, settings: Settings) -> None:
    """In development anybody may look at them, and is told that the chat needs a login."""
    settings.DEBUG = True
    page = client.get(PAGE).content.decode()
    assert "RoomConsumer" in page
    assert "&quot;type&quot;: &quot;say&quot;" in page
    assert "You are not logged in" in page


@pytest.mark.django_db
def test_strangers_are_led_to_the_login(client: Client) -> None:
    """On a real site it is for staff."""
    assert client.get(PAGE).headers["Location"] == f"{reverse('accounts:login')}?next={PAGE}"
