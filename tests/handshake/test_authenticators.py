"""``handshake/authenticators.py``: who is asked, how, and what the answers mean."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.utils.functional import SimpleLazyObject
from ninja.errors import AuthenticationError, HttpError
from ninja.security import HttpBearer
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from wsconsumer.handshake.authenticators import Asking, Found, Refused, check_authenticator
from wsconsumer.handshake.request import WebsocketRequest

ADA, BOB = User(pk=1, username="ada"), User(pk=2, username="bob")
TOKEN = {"sub": "ada"}


def request(**more: Any) -> Any:
    """Return a request with these attributes."""
    made = WebsocketRequest({"type": "websocket", "path": "/ws/", "headers": []})
    vars(made).update(more)
    return made


def saying(answer: Any) -> Any:
    """Return an authenticator that always says the same."""
    return lambda request: answer


def setting(user: Any, answer: Any = None) -> Any:
    """Return one that sets the user of the request."""

    def ask(request: Any) -> Any:
        request.user = user
        return answer

    return ask


class Method:
    """Has an ``authenticate()`` that says this."""

    def __init__(self, answer: Any = (ADA, TOKEN)) -> None:
        self.answer = answer

    def authenticate(self, request: Any) -> Any:
        return self.answer


def gone() -> Any:
    raise User.DoesNotExist


@pytest.mark.parametrize(
    ("authenticator", "expected"),
    [
        (saying(ADA), (ADA, None)),
        (saying((ADA, TOKEN)), (ADA, TOKEN)),
        (saying((ADA, None)), (ADA, None)),
        (saying(SimpleLazyObject(lambda: ADA)), (ADA, None)),
        (setting(ADA, TOKEN), (ADA, TOKEN)),
        (setting(ADA, (1, 2)), (ADA, (1, 2))),
        (setting(BOB, (ADA, TOKEN)), (ADA, TOKEN)),
        (Method(), (ADA, TOKEN)),
        (Method, (ADA, TOKEN)),
        (Method(ADA), (ADA, None)),
    ],
    ids=[
        "user",
        "pair",
        "pair-without-auth",
        "lazy",
        "set",
        "set-beside-a-pair",
        "set-beside-another",
        "instance",
        "class",
        "method-with-a-user",
    ],
)
def test_a_user(authenticator: Any, expected: Any) -> None:
    """The user comes alone, in a pair, or as request.user."""
    assert Asking(request(user=AnonymousUser()), [authenticator]).ask() == Found(
        expected[0], expected[1], None
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: False,
        lambda: "",
        dict,
        lambda: (None, TOKEN),
        lambda: (None, None),
        lambda: AnonymousUser(),
        lambda: (AnonymousUser(), None),
        lambda: SimpleLazyObject(AnonymousUser),
        lambda: SimpleLazyObject(gone),
        lambda: (SimpleLazyObject(gone), TOKEN),
    ],
    ids=[
        "none",
        "false",
        "empty-text",
        "empty-dict",
        "token-of-nobody",
        "pair-of-none",
        "anonymous",
        "anonymous-pair",
        "lazy",
        "gone",
        "gone-pair",
    ],
)
def test_nobody(make: Any) -> None:
    """Where there is no user that is authenticated, the next one is asked."""
    assert Asking(request(), [saying(make())]).ask() is None
    assert Asking(request(), [saying(make()), saying(BOB)]).ask() == Found(BOB, None, None)


def test_the_first_wins() -> None:
    """Nobody is asked behind the first who finds a user."""
    asked = []

    def second(request: Any) -> None:
        asked.append(request)

    assert Asking(request(), [saying(ADA), second]).ask() == Found(ADA, None, None)
    assert asked == []


def test_what_was_set_for_nobody_is_taken_back() -> None:
    """Who sets a user or an auth and then finds nobody leaves the request as it was."""
    seen = []

    def second(request: Any) -> None:
        seen.append((request.user, request.auth))

    def first(request: Any) -> None:
        request.user, request.auth = BOB, TOKEN

    asked = request(user=ADA, auth="middleware's")
    assert Asking(asked, [first, second]).ask() is None
    assert seen == [(ADA, None)]
    assert (asked.user, asked.auth) == (ADA, "middleware's")


def test_what_was_set_for_who_is_refused_is_taken_back() -> None:
    """Who sets a user and then refuses leaves nothing behind for logs to believe."""

    def ask(request: Any) -> None:
        request.user = BOB
        raise AuthenticationError

    asked = request(user=ADA)
    assert isinstance(Asking(asked, [ask, saying(BOB)]).ask(), Refused)
    assert asked.user == ADA


def test_an_auth_that_is_set() -> None:
    """Who returns a user may set request.auth itself."""

    def ask(request: Any) -> Any:
        request.auth = TOKEN
        return ADA

    assert Asking(request(auth="middleware's"), [ask]).ask() == Found(ADA, TOKEN, None)


@pytest.mark.parametrize(
    ("authenticator", "what"),
    [
        (saying("s3cret"), "str"),
        (saying(TOKEN), "dict"),
        (saying(("s3cret", TOKEN)), "tuple"),
        (saying([ADA, TOKEN]), "list"),
        (setting("ada", TOKEN), "dict"),
        (saying(SimpleNamespace(is_authenticated=lambda: True)), "SimpleNamespace"),
    ],
    ids=["token", "payload", "pair", "list", "set-to-a-name", "a-method-as-in-old-django"],
)
def test_an_answer_without_a_user(authenticator: Any, what: str) -> None:
    """It is a mistake, whoever the session's user is, and told without the answer."""
    with pytest.raises(TypeError, match=f"expects a user, .*, got {what}\\. Return") as caught:
        Asking(request(user=ADA), [authenticator]).ask()
    assert "s3cret" not in str(caught.value)


def test_when_it_ends() -> None:
    """The exp of the auth is found with the user; one that is over lets nobody in."""
    ahead = time.time() + 60
    assert Asking(request(), [saying((ADA, {"exp": ahead}))]).ask() == Found(
        ADA, {"exp": ahead}, ahead
    )
    refused = Asking(request(), [saying((ADA, {"exp": time.time()})), saying(BOB)]).ask()
    assert isinstance(refused, Refused)
    assert refused.response.status_code == 403
    assert refused.reason == "<lambda> let in a token that has expired"


async def test_sync_code_of_async_ones_stays_in_the_thread() -> None:
    """It runs in the handshake's thread, where the sync ones run; the rest on the event loop."""
    threads = []

    def note() -> None:
        threads.append(threading.current_thread())

    async def ask(request: Any) -> User:
        note()
        await sync_to_async(note)()
        return ADA

    def answer() -> Any:
        note()
        return Asking(request(), [ask]).ask()

    assert await sync_to_async(answer, thread_sensitive=False)() == Found(ADA, None, None)
    assert threads[0] is threads[2]
    assert threads[1] is threading.current_thread()


def test_those_of_rest_framework_share_a_request() -> None:
    """What authenticate() leaves on its request is there for authenticate_header()."""

    class Remembering(BaseAuthentication):  # type: ignore[misc]  # it has no types
        def authenticate(self, request: Any) -> None:
            assert isinstance(request, Request)
            request.problem = "too old"

        def authenticate_header(self, request: Any) -> str:
            return f'Bearer error="{request.problem}"'

    asking = Asking(request(), [Method(None), Remembering])
    assert asking.ask() is None
    refused = asking.refuse()
    assert refused.response.headers["WWW-Authenticate"] == 'Bearer error="too old"'
    assert refused.reason == "no user was found by Method, Remembering"


def test_nothing_holds_the_request() -> None:
    """What is made for an authenticator is gone with the request, without the collector."""

    class Nobody(BaseAuthentication):  # type: ignore[misc]  # it has no types
        def authenticate(self, request: Any) -> None:
            assert isinstance(request, Request)

    asked = request()
    held = weakref.ref(asked)
    gc.collect()
    gc.disable()
    try:
        assert Asking(asked, [Nobody]).ask() is None
        del asked
        assert held() is None
    finally:
        gc.enable()


class ServiceError(Exception):
    """What a client of another service raises, with the status that it got."""

    status_code = 401


class Odd(HttpError):
    """An answer of a kind that refuses nobody."""

    def __init__(self) -> None:
        super().__init__(302, "found")


@pytest.mark.parametrize(
    "error",
    [ServiceError(), Odd(), ValueError(), PermissionDenied()],
    ids=lambda e: type(e).__name__,
)
def test_other_exceptions_go_on_up(error: Exception) -> None:
    """A bug, or another service's refusal of *us*, is no refusal of the client."""

    def ask(request: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        Asking(request(), [ask]).ask()


class Unfinished(HttpBearer):
    """Lacks what it is called with."""


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("path.to.Authenticator", "authenticators: callables.*Got 'path.to.Authenticator'"),
        (None, "Got None"),
        (object, "Got <class object>"),
        (Unfinished, "can't make an instance of Unfinished, which is abstract"),
    ],
    ids=["path", "none", "class", "abstract"],
)
def test_what_can_not_be_asked(given: Any, problem: str) -> None:
    """It is refused where the view is decorated."""
    with pytest.raises(TypeError, match=problem):
        check_authenticator(given)
