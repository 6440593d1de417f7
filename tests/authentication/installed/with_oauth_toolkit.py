"""django-oauth-toolkit's access tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import path
from django.utils import timezone
from oauth2_provider.contrib.rest_framework import OAuth2Authentication
from oauth2_provider.models import get_access_token_model, get_application_model

from tests.authentication.opening import Who, denial, who
from wsconsumer.decorators import authenticate_with
from wsconsumer.test import WebsocketClient, advance

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

urlpatterns = [path("ws/", authenticate_with(OAuth2Authentication)(Who.as_view()))]


@pytest.fixture
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada")


def make_token(user: User | None, seconds: float = 60) -> str:
    """Return the header with a new token."""
    application = get_application_model().objects.create(
        client_type="confidential", authorization_grant_type="client-credentials"
    )
    token: Any = get_access_token_model().objects.create(
        user=user,
        application=application,
        token="s3cret",
        expires=timezone.now() + timedelta(seconds=seconds),
        scope="read",
    )
    return f"Bearer {token.token}"


@pytest.fixture
def token(ada: User) -> str:
    """A header for Ada."""
    return make_token(ada)


async def test_a_token(token: str) -> None:
    """Its user is there, and the token, with its scopes, is request.auth."""
    assert await who("/ws/", token) == "ada AccessToken"


async def test_the_connection_ends_with_the_token(token: str) -> None:
    """Its ``expires`` closes the connection."""
    async with WebsocketClient().connect("/ws/", headers={"Authorization": token}) as ws:
        assert await ws.receive() == "ada AccessToken"
        await advance(50)
        await ws.expect_nothing()
        await advance(11)
        assert await ws.receive_close() == 4401


@pytest.fixture
def expired(ada: User) -> str:
    """A header that is too old."""
    return make_token(ada, -1)


async def test_an_expired_token(expired: str) -> None:
    """What is wrong with it is in the header, as for a page."""
    refused = await denial("/ws/", expired)
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith(
        'Bearer realm="api",error="invalid_token"'
    )


@pytest.fixture
def machine() -> str:
    """A header of an application that acts for nobody."""
    return make_token(None)


async def test_a_token_of_nobody(machine: str) -> None:
    """A token of client credentials has no user, so there is nobody to let in."""
    assert (await denial("/ws/", machine)).status == 401


async def test_a_bad_query_string() -> None:
    """What oauthlib can't read is a bad request, as for a page."""
    assert (await denial("/ws/?a=%zz")).status == 400


async def test_a_cookie(ada: User) -> None:
    """A session is no token."""
    client = WebsocketClient()
    await client.aforce_login(ada)
    refused = await denial("/ws/", client=client)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')
