"""The recipe for tickets in the URL, as the page about authentication shows it."""

from __future__ import annotations

import asyncio
import json
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from django.urls import path

from tests.documents import ROOT, blocks
from wsconsumer import WebsocketConsumer
from wsconsumer.decorators import authenticate_with
from wsconsumer.test import WebsocketClient

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "authentication.md"

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.django_db,
    pytest.mark.skipif(not PAGE.exists(), reason="the tests are run without the documents"),
]

tickets: Any = ModuleType("tickets")
if PAGE.exists():
    (shown,) = (block.code for block in blocks(PAGE) if block.file == "mysite/tickets.py")
    exec(shown, vars(tickets))  # noqa: S102  # it is our own


class Tells(WebsocketConsumer):
    """Says who is there, and what is left of the query string."""

    async def connect(self) -> None:
        await self.accept()
        request: Any = self.request
        facts = [str(self.user), request.GET.dict(), request.get_full_path()]
        await self.send(json.dumps([*facts, self.scope["query_string"].decode()]))


class Failing(LocMemCache):
    """A cache that is away, as Memcached's clients tell it."""

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return False


class Raising(LocMemCache):
    """A cache that is away, as Redis' client tells it."""

    def add(self, *args: Any, **kwargs: Any) -> bool:
        raise ConnectionError


urlpatterns = [
    path("ws/", authenticate_with(lambda request: tickets.by_ticket(request))(Tells.as_view())),
    path("ws/other/", authenticate_with(lambda r: tickets.by_ticket(r))(Tells.as_view())),
    path("ticket/", lambda request: tickets.give_ticket(request)),
]


def cached_in(backend: str) -> Any:
    """Return the settings for tickets that are spent in a cache."""
    cache = {"BACKEND": backend, "LOCATION": "tickets"}
    return override_settings(CACHES={"default": cache, "tickets": cache})


@pytest.fixture(autouse=True)
def _cache() -> Iterator[None]:
    with cached_in("django.core.cache.backends.locmem.LocMemCache"):
        yield
        caches["tickets"].clear()


@pytest.fixture
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada", password="secret")


async def answer(ticket: str, address: str = "/ws/", more: str = "") -> Any:
    """Return what the consumer says, or the status of the denial."""
    query = f"?ticket={ticket}{more}"
    client = WebsocketClient()
    async with client.connect(address + query, raise_exceptions=False) as ws:
        return await ws.receive_json() if ws.denial is None else ws.denial.status


async def test_a_ticket_is_taken_out(ada: User) -> None:
    """The consumer finds the user, and no ticket; what else the query says stays."""
    ticket = tickets.make_ticket(ada, "/ws/")
    said = ["ada", {"room": "ä b"}, "/ws/?room=%C3%A4+b", "room=%C3%A4+b"]
    assert await answer(ticket, more="&room=%C3%A4%20b") == said


async def test_a_ticket_is_good_once(ada: User) -> None:
    """Of all who come with it, be it at the same time, one gets in."""
    ticket = tickets.make_ticket(ada, "/ws/")
    said = await asyncio.gather(*(answer(ticket) for _ in range(5)))
    assert [what for what in said if what != 403] == [["ada", {}, "/ws/", ""]]
    assert await answer(tickets.make_ticket(ada, "/ws/")) == ["ada", {}, "/ws/", ""]


async def test_wrong_tickets(ada: User) -> None:
    """For another path, of another salt, tampered with, or none at all."""
    elsewhere = signing.dumps([ada.pk, "/ws/", ada.get_session_auth_hash(), "x"], salt="elsewhere")
    good = tickets.make_ticket(ada, "/ws/")
    for wrong in (elsewhere, good[:-1] + ("a" if good[-1] != "a" else "b"), "", "nonsense"):
        assert await answer(wrong) == 403
    assert await answer(good, "/ws/other/") == 403
    assert await answer(good) == ["ada", {}, "/ws/", ""]


async def test_a_ticket_ends_soon(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 30 seconds it is good for nothing."""
    ticket = tickets.make_ticket(ada, "/ws/")
    then = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: then)
    assert await answer(ticket) == 403


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"password": "another"}, None], ids=["off", "password", "gone"]
)
@pytest.mark.usefixtures("websocket_client")
async def test_a_user_who_has_changed(ada: User, change: dict[str, Any] | None) -> None:
    """A ticket is not good for a user who may no longer log in, or has another password."""
    ticket = tickets.make_ticket(ada, "/ws/")
    users = User.objects.filter(pk=ada.pk)
    await (users.adelete() if change is None else users.aupdate(**change))
    assert await answer(ticket) == 403


@pytest.mark.parametrize(
    ("cache", "status"), [(Failing, 403), (Raising, 500)], ids=["false", "raises"]
)
async def test_a_cache_that_is_away(cache: type, status: int, ada: User) -> None:
    """Where a ticket can't be spent nobody gets in."""
    with cached_in(f"{cache.__module__}.{cache.__qualname__}"):
        assert await answer(tickets.make_ticket(ada, "/ws/")) == status


async def test_who_gets_a_ticket(ada: User) -> None:
    """Those who are logged in, for a POST, so that other sites get none."""
    client = WebsocketClient()
    assert (await client.post("/ticket/", {"path": "/ws/"})).status_code == 302
    await client.aforce_login(ada)
    assert (await client.get("/ticket/")).status_code == 405
    response = await client.post("/ticket/", {"path": "/ws/"})
    assert await answer(response.json()["ticket"]) == ["ada", {}, "/ws/", ""]
