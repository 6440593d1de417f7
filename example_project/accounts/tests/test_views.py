"""Sign-up, login and logout, as Django's test client sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.urls import reverse

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

PASSWORD = "analytical-engine"
SIGNUP, LOGIN, LOGOUT = (reverse(f"accounts:{name}") for name in ("signup", "login", "logout"))
HOME = reverse("demo:index")


def sign_up(client: Client, name: str, password: str, again: str) -> str:
    """Fill in the sign-up form; return the page that comes after it."""
    data = {"username": name, "password1": password, "password2": again}
    return client.post(SIGNUP, data, follow=True).content.decode()


def test_signing_up_logs_in(client: Client) -> None:
    """A new member has an account, is logged in, and is welcomed on the page of the sockets."""
    page = sign_up(client, "ada", PASSWORD, PASSWORD)
    assert get_user(client) == User.objects.get(username="ada")
    assert "Welcome, ada." in page
    assert "Five sockets and a chat" in page


def test_a_welcome_is_said_once(client: Client) -> None:
    """The message is gone from the next page."""
    sign_up(client, "ada", PASSWORD, PASSWORD)
    assert "Welcome" not in client.get(HOME).content.decode()


@pytest.mark.parametrize(
    ("name", "password", "again", "error"),
    [
        ("ada", PASSWORD, PASSWORD[::-1], "The two password fields"),
        ("ada", "12345", "12345", "too short"),
        ("GRACE", PASSWORD, PASSWORD, "already exists"),
        ("a d a", PASSWORD, PASSWORD, "valid username"),
        ("", PASSWORD, PASSWORD, "required"),
    ],
    ids=["passwords differ", "password short", "name taken", "name invalid", "name missing"],
)
def test_a_mistake_is_named(
    client: Client, name: str, password: str, again: str, error: str
) -> None:
    """A form with a mistake comes back with the error, tied to its field, and makes no account."""
    User.objects.create_user("grace")
    page = sign_up(client, name, password, again)
    assert error in page
    assert 'class="errorlist"' in page
    assert 'aria-invalid="true"' in page
    assert "<title>Error: Sign up" in page
    assert User.objects.count() == 1
    assert get_user(client).is_anonymous


def test_an_empty_form_has_no_errors(client: Client) -> None:
    """Whoever opens the page is not told of mistakes before making any; each input has a label."""
    page = client.get(SIGNUP).content.decode()
    assert "errorlist" not in page
    for name in ("username", "password1", "password2"):
        assert f'<label for="id_{name}">' in page
        assert f'id="id_{name}"' in page


def test_logging_in_and_out(client: Client) -> None:
    """Login and logout both lead to the page of the sockets."""
    user = User.objects.create_user("ada", password=PASSWORD)
    response = client.post(LOGIN, {"username": "ada", "password": PASSWORD})
    assert response.headers["Location"] == HOME
    assert get_user(client) == user
    response = client.post(LOGOUT)
    assert response.headers["Location"] == HOME
    assert get_user(client).is_anonymous


def test_a_wrong_password(client: Client) -> None:
    """A login that fails says so, and logs nobody in."""
    User.objects.create_user("ada", password=PASSWORD)
    response = client.post(LOGIN, {"username": "ada", "password": PASSWORD[::-1]})
    assert "Please enter a correct username and password" in response.content.decode()
    assert get_user(client).is_anonymous


def test_a_member_needs_no_login(client: Client) -> None:
    """Whoever is logged in is sent on from the login page."""
    client.force_login(User.objects.create_user("ada"))
    assert client.get(LOGIN).headers["Location"] == HOME


def test_a_link_logs_nobody_out(client: Client) -> None:
    """Logout takes a POST: no image and no link on another site can do it."""
    user = User.objects.create_user("ada")
    client.force_login(user)
    assert client.get(LOGOUT).status_code == 405
    assert get_user(client) == user
