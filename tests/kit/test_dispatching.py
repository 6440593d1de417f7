"""``connect()`` runs what stands before a consumer in its class: ``setup()`` and ``dispatch()``."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.mixins import (
    LoginRequiredMixin,
    PermissionRequiredMixin,
    UserPassesTestMixin,
)
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.test import TestCase, override_settings
from django.utils.decorators import method_decorator

from wsconsumer import WebsocketConsumer
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Callable


def dispatching(answer: Callable[..., Any]) -> type[WebsocketConsumer]:
    """Return a consumer whose ``dispatch()`` first calls this with the request and itself."""

    class Chat(WebsocketConsumer):
        def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return answer(request, self) or super().dispatch(request, *args, **kwargs)

    return Chat


class Members(LoginRequiredMixin, WebsocketConsumer):
    """For those who are logged in."""


async def test_a_stranger_and_a_member() -> None:
    """What a mixin answers instead of the upgrade is the denial; who may come in does."""
    async with connect(Members, "/ws/members/?page=2") as ws:
        assert not ws.accepted
        assert ws.denial is not None
        assert ws.denial.status == 302
        location = ws.denial.headers["Location"]
        assert location == "/accounts/login/?next=/ws/members/%3Fpage%3D2"
    async with connect(Members, user=User(username="ada")) as ws:
        assert ws.accepted


class Editors(PermissionRequiredMixin, WebsocketConsumer):
    """For those who may change groups, which the database knows."""

    permission_required = "auth.change_group"


class EditorsTests(TestCase):
    """A permission is a query, in the test's own transaction."""

    ada: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ada = User.objects.create_user("ada")

    async def test_without_the_permission(self) -> None:
        """Somebody else is forbidden."""
        async with connect(Editors, user=self.ada) as ws:
            assert ws.denial is not None
            assert ws.denial.status == 403

    async def test_with_the_permission(self) -> None:
        """The row that the test has just made counts."""
        await self.ada.user_permissions.aadd(await Permission.objects.aget(codename="change_group"))
        async with connect(Editors, user=self.ada) as ws:
            assert ws.accepted


@pytest.fixture
def editor(db: None) -> User:
    user = User.objects.create_user("ada")
    user.user_permissions.add(Permission.objects.get(codename="change_group"))
    return user


async def test_a_permission_under_pytest_django(editor: User) -> None:
    """The row of a fixture counts, in a transaction that is never committed."""
    async with connect(Editors, user=editor) as ws:
        assert ws.accepted


class Passing(UserPassesTestMixin, WebsocketConsumer):
    """For whoever names the room; ``setup()`` asks the database."""

    def setup(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.count = Group.objects.count()
        self.thread = threading.current_thread()

    def test_func(self) -> bool:
        return bool(self.kwargs["room"] == "attic" and self.request.user.username == "ada")

    async def connect(self) -> None:
        await self.accept()
        await self.send(f"{self.count} {self.thread is threading.current_thread()}")


@pytest.mark.django_db
async def test_setup_and_facts() -> None:
    """Both have request and kwargs, and run in a thread, where the ORM may be called."""
    async with connect(Passing, kwargs={"room": "attic"}, user=User(username="ada")) as ws:
        assert await ws.receive() == "0 False"
    async with connect(Passing, kwargs={"room": "cellar"}, user=User(username="ada")) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 403


def with_cookie(view: Callable[..., Any]) -> Callable[..., Any]:
    """Set a cookie, as a decorator of a page may do."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        response = view(*args, **kwargs)
        response.set_cookie("seen", "yes")
        return response

    return wrapper


async def test_a_decorator() -> None:
    """method_decorator(name="dispatch") works, and cookies of the 101 go out with the accept."""

    @method_decorator(with_cookie, name="dispatch")
    class Decorated(WebsocketConsumer):
        pass

    async with connect(Decorated) as ws:
        assert ws.accepted
        assert ws.cookies["seen"].value == "yes"


def deny(request: Any, consumer: Any) -> None:
    raise PermissionDenied


def lose(request: Any, consumer: Any) -> None:
    raise Http404


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (lambda request, consumer: HttpResponse("No.", status=451), 451, b"No."),
        (deny, 403, b"403 Forbidden"),
        (lose, 404, b"Not Found"),
    ],
    ids=["response", "PermissionDenied", "Http404"],
)
async def test_a_denial(answer: Callable[..., Any], status: int, body: bytes) -> None:
    """A response or exception of ``dispatch()`` is the denial that a client gets."""
    async with connect(dispatching(answer)) as ws:
        assert ws.denial is not None
        assert ws.denial.status == status
        assert body in ws.denial.body


async def test_an_error() -> None:
    """Another exception is raised in the test, with its own traceback; the client gets 500."""
    consumer = dispatching(lambda request, consumer: 1 // 0)
    with pytest.raises(ZeroDivisionError) as caught:
        async with connect(consumer):
            pass
    assert caught.traceback[-1].name == "<lambda>"
    async with connect(consumer, raise_exceptions=False) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 500


async def test_the_request() -> None:
    """User and session are those of the request, and not of the scope, as in production."""
    seen: list[Any] = []

    def look(request: Any, consumer: WebsocketConsumer) -> None:
        seen.extend([request.session["a"], request.user, sorted(consumer.scope.keys() & FACTS)])

    FACTS = {"user", "session", "url_route"}  # noqa: N806  # a constant
    session = SessionStore()
    session["a"] = 1
    user = User(username="ada")
    async with connect(dispatching(look), session=session, user=user, kwargs={"room": "attic"}):
        pass
    assert seen == [1, user, []]


async def test_a_token_in_the_subprotocols() -> None:
    """Where the settings have it a header, ``dispatch()`` finds it there."""

    def authenticate(request: Any, consumer: Any) -> None:
        request.user = User(username=request.headers["Authorization"])

    class Tokens(dispatching(authenticate)):  # type: ignore[misc]  # a base that is made
        async def connect(self) -> None:
            await self.accept()
            await self.send(self.user.get_username())

    with override_settings(WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Bearer"}):
        async with connect(Tokens, subprotocols=["bearer", "abc"]) as ws:
            assert await ws.receive() == "Bearer abc"


@pytest.mark.timeout(60)
def test_bare_settings() -> None:
    """A consumer can be tested where there are no URL patterns, no database and no users."""
    program = """
import asyncio
from django.conf import settings
settings.configure()
import django; django.setup()
from wsconsumer import WebsocketConsumer
from wsconsumer.test import connect

async def main():
    async with connect(WebsocketConsumer) as ws:
        assert ws.accepted

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
