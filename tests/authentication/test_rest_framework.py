"""``authenticate_with()`` with Django REST framework and simplejwt themselves."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import path
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
)
from rest_framework.exceptions import APIException, NotAuthenticated, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import (
    JWTAuthentication,
    JWTStatelessUserAuthentication,
)
from rest_framework_simplejwt.tokens import AccessToken

from tests.authentication.opening import Who, denial, who
from wsconsumer.decorators import authenticate_with
from wsconsumer.test import WebsocketClient, advance

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


class Raising(BaseAuthentication):  # type: ignore[misc]  # it has no types
    """Raises what the query string names."""

    errors: Any = {  # noqa: RUF012  # a table
        "none": NotAuthenticated(),
        "slow": Throttled(wait=2.5),
        "broken": APIException(),
        "invalid": ValidationError(["one", "two"]),
    }

    def authenticate(self, request: Any) -> None:
        assert isinstance(request, Request)
        raise self.errors[request.query_params["error"]]

    def authenticate_header(self, request: Any) -> str:
        assert isinstance(request, Request)
        return "Raising"


class Fails(Who):
    """Fails once it is open."""

    async def connect(self) -> None:
        await self.accept()
        raise RuntimeError("deliberate")


view = Who.as_view()
urlpatterns = [
    path("ws/", authenticate_with(JWTAuthentication)(view)),
    path("ws/stateless/", authenticate_with(JWTStatelessUserAuthentication)(view)),
    path("ws/optional/", authenticate_with(JWTAuthentication, optional=True)(view)),
    path("ws/basic/", authenticate_with(BasicAuthentication())(view)),
    path("ws/session/", authenticate_with(SessionAuthentication)(view)),
    path("ws/several/", authenticate_with(SessionAuthentication, JWTAuthentication)(view)),
    path("ws/both/", authenticate_with(get_user, JWTAuthentication)(view)),
    path("ws/fails/", authenticate_with(JWTAuthentication)(Fails.as_view())),
    path("ws/fails/stateless/", authenticate_with(JWTStatelessUserAuthentication)(Fails.as_view())),
    path("ws/raising/", authenticate_with(Raising)(view)),
]


@pytest.fixture
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada", password="secret")


@pytest.fixture
def bob() -> User:
    """Another one."""
    return User.objects.create_user("bob")


def bearer(user: User, **lifetime: float) -> str:
    """Return the header with a token of simplejwt for a user."""
    token = AccessToken.for_user(user)
    if lifetime:
        token.set_exp(lifetime=timedelta(**lifetime))
    return f"Bearer {token}"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/ws/", "ada AccessToken"),
        ("/ws/stateless/", "TokenUser {pk} AccessToken"),
        ("/ws/optional/", "ada AccessToken"),
        ("/ws/several/", "ada AccessToken"),
        ("/ws/both/", "ada AccessToken"),
    ],
    ids=["user", "stateless", "optional", "second", "behind-get_user"],
)
async def test_a_token_of_simplejwt(address: str, said: str, ada: User) -> None:
    """The token's user is there, and the token is request.auth."""
    assert await who(address, bearer(ada)) == said.format(pk=ada.pk)


async def test_basic(ada: User) -> None:
    """An instance is asked as it is; without an auth there is none."""
    credentials = b64encode(b"ada:secret").decode()
    assert await who("/ws/basic/", f"Basic {credentials}") == "ada NoneType"
    refused = await denial("/ws/basic/", "Basic nonsense")
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="api"'


@pytest.mark.parametrize(
    ("address", "authorization", "status", "challenge"),
    [
        ("/ws/", "", 401, 'Bearer realm="api"'),
        ("/ws/", "Bearer nonsense", 401, 'Bearer realm="api"'),
        ("/ws/", "Bearer two words", 401, 'Bearer realm="api"'),
        ("/ws/optional/", "Bearer nonsense", 401, 'Bearer realm="api"'),
        ("/ws/several/", "", 401, 'Bearer realm="api"'),
        ("/ws/session/", "", 403, None),
        ("/ws/raising/?error=none", "", 401, "Raising"),
        ("/ws/raising/?error=slow", "", 429, None),
        ("/ws/raising/?error=broken", "", 500, None),
        ("/ws/raising/?error=invalid", "", 400, None),
    ],
    ids=[
        "no-token",
        "no-jwt",
        "two-words",
        "optional",
        "the-second-has-a-scheme",
        "no-scheme",
        "not-authenticated",
        "throttled",
        "server-error",
        "validation",
    ],
)
async def test_denials(
    address: str,
    authorization: str,
    status: int,
    challenge: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What authenticators raise, or find nobody for, is the denial that a page would get."""
    refused = await denial(address, authorization)
    assert refused.status == status
    assert refused.headers.get("WWW-Authenticate") == challenge
    (record,) = (record for record in caplog.records if record.name.startswith("wsconsumer"))
    assert record.levelname == ("ERROR" if status == 500 else "WARNING")
    assert (record.exc_info, record.__dict__["status_code"]) == (None, status)
    assert not [record for record in caplog.records if record.name == "django.request"]


async def test_the_client_is_told_why() -> None:
    """The body is that of a page, as far as there is more to say than the status."""
    assert (await denial()).body == b""
    told = json.loads((await denial("/ws/", "Bearer two words")).body)
    assert told["detail"] == "Authorization header must contain two space-delimited values"
    refused = await denial("/ws/raising/?error=slow")
    assert json.loads(refused.body) == {
        "detail": "Request was throttled. Expected available in 3 seconds."
    }
    assert refused.headers["Retry-After"] == "3"
    assert json.loads((await denial("/ws/raising/?error=invalid")).body) == ["one", "two"]


async def test_an_expired_token(ada: User, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused by its authenticator, and the log says so without the token."""
    authorization = bearer(ada, seconds=-1)
    refused = await denial("/ws/", authorization)
    assert refused.status == 401
    assert json.loads(refused.body)["messages"][0]["message"] == "Token is expired"
    text = "Refused a websocket on /ws/ with 401: JWTAuthentication raised InvalidToken."
    assert text in caplog.messages
    assert authorization not in caplog.text


async def test_the_connection_ends_with_the_token(ada: User) -> None:
    """At the token's exp the connection is closed with 4401."""
    headers = {"Authorization": bearer(ada, seconds=60)}
    async with WebsocketClient().connect("/ws/", headers=headers) as ws:
        assert await ws.receive() == "ada AccessToken"
        await advance(50)
        await ws.expect_nothing()
        await advance(11)
        assert (await ws.receive_close(), ws.close_reason) == (4401, "the token has expired")


async def test_a_cookie_without_a_token(ada: User) -> None:
    """A session lets nobody in, unless what looks at it is among those that are asked."""
    client = WebsocketClient()
    await client.aforce_login(ada)
    for address in ("/ws/", "/ws/stateless/", "/ws/basic/"):
        assert (await denial(address, client=client)).status == 401
    assert await who("/ws/optional/", client=client) == "AnonymousUser NoneType"
    for address in ("/ws/session/", "/ws/several/", "/ws/both/"):
        assert await who(address, client=client) == "ada NoneType"


async def test_a_cookie_and_a_token(ada: User, bob: User) -> None:
    """The first in the order who finds a user wins."""
    client = WebsocketClient()
    await client.aforce_login(ada)
    assert await who("/ws/", bearer(bob), client) == "bob AccessToken"
    assert await who("/ws/both/", bearer(bob), client) == "ada NoneType"


async def test_from_a_browser(ada: User) -> None:
    """The token of a subprotocol is the header that these authenticators read."""
    token = bearer(ada).removeprefix("Bearer ")
    with override_settings(WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Bearer"}):
        assert await who(subprotocols=["bearer", token]) == "ada AccessToken"


async def test_the_log_names_the_tokens_user(ada: User, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that fails fails for the user of the token, or for a user of its type."""
    for address, user in (("/ws/fails/", f"user {ada.pk}"), ("/ws/fails/stateless/", "TokenUser")):
        client = WebsocketClient()
        headers = {"Authorization": bearer(ada)}
        async with client.connect(address, headers=headers, raise_exceptions=False) as ws:
            assert await ws.receive_close() == 1011
        (line,) = (line for line in caplog.messages if line.startswith("Fails.connect() failed"))
        assert line.endswith(user)
        caplog.clear()
