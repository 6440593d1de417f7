"""The page for staff is where the admin is."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db


def test_strangers_log_in_first(client: Client) -> None:
    """The admin asks who it is."""
    response = client.get("/admin/websockets/")
    assert response.headers["Location"] == "/admin/login/?next=/admin/websockets/"


def test_superusers_see_who_is_connected(client: Client) -> None:
    """It is found below the admin's own address."""
    client.force_login(User.objects.create_superuser("ada"))
    assert "WebSockets" in client.get("/admin/websockets/").content.decode()
