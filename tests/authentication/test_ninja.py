"""``authenticate_with()`` with django-ninja's own security classes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import path
from ninja.errors import AuthenticationError, AuthorizationError, HttpError, Throttled
from ninja.security import APIKeyQuery, HttpBasicAuth, HttpBearer, django_auth

from tests.authentication.opening import Who, denial, who
from wsconsumer.decorators import authenticate_with
from wsconsumer.test import WebsocketClient, advance

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

ERRORS: dict[str, Exception] = {
    "unauthorized": AuthenticationError(),
    "forbidden": AuthorizationError(),
    "teapot": HttpError(418, "short and stout"),
    "slow": Throttled(wait=7),
    "slow-for-who-knows-how-long": Throttled(wait=None),
}


class Bearer(HttpBearer):
    """Returns a user, or raises."""

    def authenticate(self, request: Any, token: str) -> User | None:
        if token in ERRORS:
            raise ERRORS[token]
        return User.objects.filter(username=token).first()


class AsyncBearer(HttpBearer):
    """The same, async."""

    async def authenticate(self, request: Any, token: str) -> User | None:
        return await User.objects.filter(username=token).afirst()


class Payload(HttpBearer):
    """Sets the user, and returns the token's payload, as allauth's do."""

    def authenticate(self, request: Any, token: str) -> dict[str, Any]:
        request.user = User.objects.get(username=token)
        return {"sub": token, "exp": time.time() + 60}


class PayloadAlone(HttpBearer):
    """Says that a token is right, but not whose it is."""

    def authenticate(self, request: Any, token: str) -> str:
        return token


class Basic(HttpBasicAuth):
    def authenticate(self, request: Any, username: str, password: str) -> User | None:
        return User.objects.filter(username=username).first()


class Key(APIKeyQuery):
    param_name = "key"

    def authenticate(self, request: Any, key: str | None) -> User | None:
        return User.objects.filter(username=key).first()


class AsyncKey(Key):
    async def __call__(self, request: Any) -> User | None:
        return await User.objects.filter(username=self._get_key(request)).afirst()


def by_header(request: Any) -> User | None:
    """A function is asked like an instance."""
    return User.objects.filter(username=request.headers.get("X-User")).first()


view = Who.as_view()
urlpatterns = [
    path("ws/", authenticate_with(Bearer())(view)),
    path("ws/class/", authenticate_with(Bearer)(view)),
    path("ws/async/", authenticate_with(AsyncBearer())(view)),
    path("ws/async-call/", authenticate_with(AsyncKey())(view)),
    path("ws/payload/", authenticate_with(Payload())(view)),
    path("ws/payload-alone/", authenticate_with(PayloadAlone())(view)),
    path("ws/several/", authenticate_with(Basic(), Key(), by_header, Bearer())(view)),
    path("ws/session/", authenticate_with(django_auth)(view)),
]


@pytest.fixture(autouse=True)
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/ws/", "ada NoneType"),
        ("/ws/class/", "ada NoneType"),
        ("/ws/async/", "ada NoneType"),
        ("/ws/async-call/?key=ada", "ada NoneType"),
        ("/ws/payload/", "ada dict"),
        ("/ws/several/", "ada NoneType"),
    ],
)
async def test_a_token(address: str, said: str) -> None:
    """The user that is returned or set is the user; what else is returned is request.auth."""
    assert await who(address, "Bearer ada") == said


async def test_other_ways() -> None:
    """Whoever finds a user, the rest are not asked."""
    assert await who("/ws/several/", "Basic YWRhOnB3") == "ada NoneType"
    assert await who("/ws/several/?key=ada") == "ada NoneType"
    assert (await denial("/ws/several/?key=bob")).status == 403


@pytest.mark.parametrize(
    ("token", "status", "told"),
    [
        ("unauthorized", 403, "Unauthorized"),
        ("forbidden", 403, "Forbidden"),
        ("teapot", 418, "short and stout"),
        ("slow", 429, "Too many requests."),
        ("slow-for-who-knows-how-long", 429, "Too many requests."),
    ],
)
async def test_denials(token: str, status: int, told: str) -> None:
    """What they raise is the denial; a 401 that can't name a scheme is a 403."""
    refused = await denial("/ws/", f"Bearer {token}")
    assert (refused.status, json.loads(refused.body)) == (status, {"detail": told})
    assert refused.headers.get("Retry-After") == ("7" if token == "slow" else None)


@pytest.mark.parametrize("address", ["/ws/", "/ws/async/", "/ws/payload/"])
async def test_nobody(address: str) -> None:
    """Without a token they find nobody."""
    assert (await denial(address)).status == 403


async def test_the_connection_ends_with_the_token() -> None:
    """The exp of a payload closes the connection."""
    headers = {"Authorization": "Bearer ada"}
    async with WebsocketClient().connect("/ws/payload/", headers=headers) as ws:
        assert await ws.receive() == "ada dict"
        await advance(61)
        assert await ws.receive_close() == 4401


async def test_a_token_of_nobody(ada: User) -> None:
    """A payload without a user is a mistake, told without the payload; the cookie does not help."""
    client = WebsocketClient()
    await client.aforce_login(ada)
    with pytest.raises(TypeError) as caught:
        await who("/ws/payload-alone/", "Bearer s3cret", client)
    assert str(caught.value) == (
        "authenticate_with() expects a user, (user, auth) or None of PayloadAlone, got str. "
        "Return a user as well, or set request.user to one, and the rest is request.auth."
    )


async def test_a_cookie(ada: User) -> None:
    """A session counts where it is asked for, and nowhere else."""
    client = WebsocketClient()
    await client.aforce_login(ada)
    assert await who("/ws/session/", client=client) == "ada NoneType"
    assert (await denial("/ws/", client=client)).status == 403
    assert (await denial("/ws/session/")).status == 403
