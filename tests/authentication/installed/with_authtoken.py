"""The tokens that Django REST framework keeps in the database."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import path
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token

from tests.authentication.opening import Who, denial, who
from wsconsumer.decorators import authenticate_with

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

urlpatterns = [path("ws/", authenticate_with(TokenAuthentication)(Who.as_view()))]


@pytest.fixture
def token() -> str:
    """A token of Ada's."""
    key: str = Token.objects.create(user=User.objects.create_user("ada")).key
    return key


async def test_a_token(token: str) -> None:
    """Its user is there, and the token is request.auth."""
    assert await who("/ws/", f"Token {token}") == "ada Token"


async def test_in_a_subprotocol(token: str) -> None:
    """A browser sends it behind the name of its scheme."""
    with override_settings(WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Token"}):
        assert await who("/ws/", subprotocols=["token", token]) == "ada Token"


@pytest.mark.parametrize("authorization", ["", "Token nonsense", "Token", "Bearer nonsense"])
@pytest.mark.usefixtures("token")
async def test_a_wrong_token(authorization: str) -> None:
    """It is a 401 with the scheme."""
    refused = await denial("/ws/", authorization)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Token")


@pytest.mark.usefixtures("websocket_client")
async def test_a_user_who_was_deactivated(token: str) -> None:
    """A token lets in nobody who may not log in."""
    await User.objects.aupdate(is_active=False)
    assert (await denial("/ws/", f"Token {token}")).status == 401
