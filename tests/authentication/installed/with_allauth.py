"""allauth's headless tokens, by its authenticators for both frameworks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from allauth.headless.contrib.ninja.security import jwt_token_auth, x_session_token_auth
from allauth.headless.contrib.rest_framework.authentication import (
    JWTTokenAuthentication,
    XSessionTokenAuthentication,
)
from allauth.headless.tokens.strategies.jwt.internal import create_access_token, create_token
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import path

from tests.authentication.opening import Who, denial, who
from wsconsumer.decorators import authenticate_with
from wsconsumer.test import WebsocketClient, advance

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

view = Who.as_view()
urlpatterns = [
    path("ws/jwt/", authenticate_with(JWTTokenAuthentication)(view)),
    path("ws/ninja-jwt/", authenticate_with(jwt_token_auth)(view)),
    path("ws/session/", authenticate_with(XSessionTokenAuthentication)(view)),
    path("ws/ninja-session/", authenticate_with(x_session_token_auth)(view)),
]

STATES = [False, True]


@pytest.fixture
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada", password="secret")


@pytest.fixture
def session(ada: User) -> Any:
    """The session of her app."""
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    store[SESSION_KEY] = str(ada.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = ada.get_session_auth_hash()
    store.save()
    return store


@pytest.fixture
def token(ada: User, session: Any) -> str:
    """An access token of hers."""
    made: str = create_access_token(ada, session, {})
    return made


@pytest.mark.parametrize("stateful", STATES, ids=["stateless", "stateful"])
@pytest.mark.parametrize("address", ["/ws/jwt/", "/ws/ninja-jwt/"])
async def test_an_access_token(address: str, stateful: bool, token: str) -> None:
    """Its user is there, its payload is request.auth, and its end that of the connection."""
    with override_settings(HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED=stateful):
        assert await who(address, f"Bearer {token}") == "ada dict"
        headers = {"Authorization": f"Bearer {token}"}
        async with WebsocketClient().connect(address, headers=headers) as ws:
            assert await ws.receive() == "ada dict"
            await advance(301)
            assert await ws.receive_close() == 4401


@pytest.mark.parametrize(
    ("address", "status"), [("/ws/jwt/", 401), ("/ws/ninja-jwt/", 403)], ids=["drf", "ninja"]
)
@pytest.mark.parametrize("kind", ["nonsense", "expired", "refresh"])
async def test_a_wrong_token(address: str, status: int, kind: str, ada: User) -> None:
    """It is a denial, with the scheme where there is one."""
    fields: dict[str, Any] = {"sub": str(ada.pk), "sid": "sid"}
    tokens = {
        "nonsense": "nonsense",
        "expired": create_token("access", expires_in=-10, **fields)[0],
        "refresh": create_token("refresh", expires_in=10, **fields)[0],
    }
    refused = await denial(address, f"Bearer {tokens[kind]}")
    assert refused.status == status
    assert refused.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize(
    ("address", "status"), [("/ws/jwt/", 401), ("/ws/ninja-jwt/", 403)], ids=["drf", "ninja"]
)
@pytest.mark.usefixtures("websocket_client")
async def test_a_user_who_is_gone(address: str, status: int, token: str, ada: User) -> None:
    """A token that outlives its user lets nobody in, although allauth does not look."""
    await User.objects.filter(pk=ada.pk).adelete()
    assert (await denial(address, f"Bearer {token}")).status == status


@pytest.mark.parametrize(
    ("address", "said"),
    [("/ws/session/", "ada SessionStore"), ("/ws/ninja-session/", "ada NoneType")],
    ids=["drf", "ninja"],
)
async def test_a_session_token(address: str, said: str, session: Any) -> None:
    """An app's session token finds its user."""
    client = WebsocketClient()
    async with client.connect(address, headers={"X-Session-Token": session.session_key}) as ws:
        assert await ws.receive() == said
    async with client.connect(address, headers={"X-Session-Token": "nonsense"}) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 403


@pytest.mark.parametrize("address", ["/ws/jwt/", "/ws/ninja-jwt/", "/ws/session/"])
async def test_a_cookie(address: str, ada: User) -> None:
    """A browser's session is none of these."""
    client = WebsocketClient()
    await client.aforce_login(ada)
    assert (await denial(address, client=client)).status in {401, 403}
