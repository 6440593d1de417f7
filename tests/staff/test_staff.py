"""``wsconsumer.staff``: whom the page is for, what it shows, and what it closes."""

from __future__ import annotations

import importlib
import re
from contextlib import contextmanager
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path

from tests.staff.site import installed
from wsconsumer.identities import hash_of_session
from wsconsumer.test import WebsocketClient, real_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/websockets/"


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page, which is patient for a moment where nobody is connected."""
    with installed():
        monkeypatch.setattr("wsconsumer.staff.views.PATIENCE", 0.2)
        yield


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def staff_with(*permissions: str) -> User:
    """Return a user of the staff who has these permissions."""
    user = User.objects.create_user("sue", is_staff=True)
    kind, _ = ContentType.objects.get_or_create(app_label="wsconsumer", model="connection")
    for codename in permissions:
        user.user_permissions.add(
            Permission.objects.create(codename=codename, name=codename, content_type=kind)
        )
    return user


class Visitor:
    """Somebody with a browser, who opens websockets and looks at the page."""

    def __init__(self, user: User | None = None) -> None:
        self.client = Client()
        self.sockets = WebsocketClient()
        if user is not None:
            self.client.force_login(user)
            self.sockets.cookies = self.client.cookies

    async def get(self, query: str = "") -> str:
        """Return what the page says."""
        response = await sync_to_async(self.client.get)(f"{PAGE}{query}")
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        text: str = response.content.decode()
        return text

    async def post(self, **data: str) -> Any:
        """Return the response to a form."""
        return await sync_to_async(self.client.post)(PAGE, data)


@pytest.fixture
def visitor(root: User) -> Visitor:
    """A superuser with a browser."""
    return Visitor(root)


async def member_of_staff(*permissions: str) -> Visitor:
    """Return a visitor of the staff who has these permissions."""
    return await sync_to_async(lambda: Visitor(staff_with(*permissions)))()


def cells(page: str) -> list[list[str]]:
    """Return the rows of the table, without markup."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    found = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [[unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row] for row in found]


@pytest.mark.parametrize(
    ("user", "status"),
    [
        (lambda: None, 302),
        (lambda: User.objects.create_user("ada"), 403),
        (lambda: User.objects.create_user("ada", is_superuser=True), 403),
        (lambda: User.objects.create_superuser("ada", is_active=False), 302),
        (staff_with, 403),
        (lambda: staff_with("close_connections"), 403),
        (lambda: staff_with("view_connections"), 200),
        (lambda: User.objects.create_superuser("ada"), 200),
    ],
    ids=[
        "nobody", "user", "not staff", "inactive", "staff", "may close", "may view", "superuser",
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", [PAGE, f"{PAGE}table/"])
def test_who_may_look(url: str, user: Callable[[], User | None], status: int) -> None:
    """Staff with the permission; others are refused, and who is not logged in can do so."""
    visitor = Visitor(user())
    response = visitor.client.get(url)
    assert response.status_code == status
    if status == 302:
        assert response["Location"] == f"/admin/login/?next={url}"


@pytest.mark.parametrize(("permissions", "is_let_in"), [([], False), (["view_connections"], True)])
async def test_who_may_watch(permissions: list[str], is_let_in: bool) -> None:
    """The websocket of the page is for the same people."""
    visitor = await member_of_staff(*permissions)
    async with visitor.sockets.connect(f"{PAGE}watch/") as ws:
        assert ws.accepted is is_let_in
        if is_let_in:
            assert "1 process answered" in await ws.receive()
            await ws.send("ignored")
        else:
            assert ws.denial is not None
            assert ws.denial.status == 403


def test_without_authentication(rf: RequestFactory) -> None:
    """Without users nobody is staff."""
    from wsconsumer.staff.views import page  # it needs the admin

    with pytest.raises(
        PermissionDenied, match=r"permission wsconsumer\.view_connections may see who"
    ):
        page(rf.get(PAGE))


@contextmanager
def bare(name: str) -> Iterator[None]:
    """Leave an app out."""
    from django.conf import settings  # as they are then

    apps = [app for app in settings.INSTALLED_APPS if app != name]
    with override_settings(INSTALLED_APPS=apps):
        yield


@pytest.mark.parametrize("app", ["wsconsumer", "django.contrib.admin"])
def test_apps_that_are_missing(app: str) -> None:
    """A mistake in INSTALLED_APPS is told when the URLs are read."""
    import wsconsumer.staff  # it needs the admin

    with bare(app), pytest.raises(ImproperlyConfigured, match=f'needs "{app}" in INSTALLED_APPS'):
        importlib.reload(wsconsumer.staff)


class Alone:
    """A URLconf with the page, and without the admin."""

    @property
    def urlpatterns(self) -> list[Any]:
        return [path("admin/websockets/", include("wsconsumer.staff"))]


@pytest.mark.parametrize("is_logged_in", [True, False])
def test_an_admin_that_is_not_mapped(is_logged_in: bool) -> None:
    """The page is a part of the admin, and says what to write."""
    root = User.objects.create_superuser("root")
    visitor = Visitor(root if is_logged_in else None)
    with (
        override_settings(ROOT_URLCONF=Alone()),
        pytest.raises(ImproperlyConfigured, match=r"path\(\"admin/\", admin\.site\.urls\)"),
    ):
        visitor.client.get(PAGE)


async def test_what_it_shows(visitor: Visitor, root: User) -> None:
    """Who is connected, with links that filter; how they are called by strangers is escaped."""
    async with visitor.sockets.connect("/ws/room/%3Cb%3E&/") as ws:
        for group in ("<i>&", "b", "c", "d"):
            await ws.send(group)
        await ws.settle()
        response = await sync_to_async(visitor.client.get)(PAGE)
        page = response.content.decode()
        assert "<b>&" not in page
        assert "<i>" not in page
        assert '<a href="?group=%3Ci%3E%26">&lt;i&gt;&amp;</a>' in page
        assert f'<a href="?user={root.pk}">{root.pk}</a>' in page
        ((consumer, path, user, session, age, groups, outbox, state, process, close),) = cells(page)
    assert (consumer, user, state, close) == ("Room", str(root.pk), "open", "Close")
    assert path == "/ws/room/<b>&/"
    assert session == hash_of_session(visitor.client.cookies["sessionid"].value)[:12]
    assert re.fullmatch(r"\d+s", age)
    assert "and 1 more" in groups
    assert outbox == "0\xa0bytes"
    assert re.fullmatch(r".+/\d+", process)
    assert "Groups are carried by the memory of each process" in page
    assert "1 process answered" in page
    assert "Messages/s" not in page


@override_settings(WSCONSUMER={"METRICS": True})
async def test_rates(visitor: Visitor) -> None:
    """Where messages are counted, a column says how many a second come and go."""
    async with visitor.sockets.connect("/ws/room/a/") as ws:
        await ws.send("news")
        await ws.settle()
        page = await visitor.get()
    assert '<th scope="col">Messages/s</th>' in page
    assert re.search(r">[\d.]+ in, 0 out<", page)


async def test_what_may_not_be_closed() -> None:
    """Who may only look has no buttons, and no way around them."""
    visitor = await member_of_staff("view_connections")
    async with visitor.sockets.connect("/ws/room/a/") as ws:
        await ws.settle()
        assert "<button" not in (await visitor.get("?path=*")).partition("<tbody>")[2]
        response = await visitor.post(path="*", confirmed="")
        assert response.status_code == 403
        assert ws.close_code is None


@pytest.mark.parametrize(
    ("query", "rooms"),
    [
        ("", ["a", "b"]),
        ("?path=/ws/room/a/", ["a"]),
        ("?path=*b*&consumer=Room", ["b"]),
        ("?group=news", ["b"]),
        ("?user=1000", []),
        ("?user=nobody", []),
        ("?path=/ws/room/a/&session=no+hash", ["a", "b"]),
    ],
)
@pytest.mark.parametrize("part", ["", "table/"])
async def test_filters(part: str, query: str, rooms: list[str], visitor: Visitor) -> None:
    """The query filters, on the page and on the table alone; a filter with a mistake is none."""
    async with (
        visitor.sockets.connect("/ws/room/a/") as one,
        visitor.sockets.connect("/ws/room/b/") as two,
    ):
        await two.send("news")
        await one.settle()
        await two.settle()
        page = await visitor.get(f"{part}{query}")
    assert [row[1] for row in cells(page)] == [f"/ws/room/{room}/" for room in rooms]
    assert ("Enter a valid value." in page) is ("no+hash" in query and part == "")
    is_filtered = bool(rooms) and "no+hash" not in query and query != ""
    assert ('name="all"' in page) is is_filtered


async def test_watching(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The websocket of the page sends the table for the filter of its address."""
    monkeypatch.setattr("wsconsumer.staff.watching.PERIOD", 0.05)
    async with visitor.sockets.connect("/ws/room/a/") as ws:
        await ws.settle()
        async with visitor.sockets.connect(f"{PAGE}watch/?path=/ws/*") as watch:
            first = await watch.receive()
            assert [row[1] for row in cells(str(first))] == ["/ws/room/a/"]
            assert '<button class="button" id="close-' in first
            await ws.close()
            while "0 connections" not in str(await watch.receive()):
                pass


async def test_closing_one(visitor: Visitor, root: User, caplog: pytest.LogCaptureFixture) -> None:
    """A button asks whether it is meant so, then closes; the log says who did it."""
    async with (
        visitor.sockets.connect("/ws/room/a/") as one,
        visitor.sockets.connect("/ws/room/b/") as two,
    ):
        await one.settle()
        await two.settle()
        page = await visitor.get("?consumer=Room")
        (button,) = re.findall(r'value="([^"]+)" aria-label="Close Room at /ws/room/a/"', page)
        asked = (await visitor.post(connection=button, consumer="Room")).content.decode()
        assert [row[1] for row in cells(asked)] == ["/ws/room/a/"]
        assert f'<input type="hidden" name="connection" value="{button}">' in asked
        assert f'href="{PAGE}?consumer=Room"' in asked
        assert one.close_code is None
        response = await visitor.post(connection=button, consumer="Room", confirmed="")
        assert response["Location"] == f"{PAGE}?consumer=Room"
        assert await one.receive_close() == 4501
        assert two.close_code is None
    assert "Connections that are being closed: 1." in await visitor.get()
    (text,) = (text for text in caplog.messages if text.startswith("Closing with"))
    assert text.startswith(f"Closing with 4501 by order of user {root.pk} on the staff page: ")


async def test_closing_those_that_are_shown(visitor: Visitor) -> None:
    """All that a filter means can be closed together."""
    async with (
        visitor.sockets.connect("/ws/room/a/") as one,
        visitor.sockets.connect("/ws/room/b/") as two,
    ):
        await one.settle()
        await two.settle()
        asked = (await visitor.post(path="/ws/room/*", all="")).content.decode()
        assert "Close these connections?" in asked
        await visitor.post(path="/ws/room/*", confirmed="")
        assert (await one.receive_close(), await two.receive_close()) == (4501, 4501)
    await visitor.post(path="/ws/room/*", confirmed="")
    assert "Connections that are being closed: 0." in await visitor.get()
    asked = (await visitor.post(path="/ws/room/*", all="")).content.decode()
    assert "There is nothing to close: no connection matches." in asked
    assert "Yes, close" not in asked


@pytest.mark.parametrize(
    "data", [{"all": ""}, {"confirmed": ""}, {"path": "*", "session": "?", "confirmed": ""}]
)
async def test_closing_all_by_mistake(data: dict[str, str], visitor: Visitor) -> None:
    """Without a filter, or with one that makes no sense, nobody is closed."""
    async with visitor.sockets.connect("/ws/room/a/") as ws:
        await ws.settle()
        assert (await visitor.post(**data)).status_code == 302
        assert "Filter first" in await visitor.get()
        assert ws.close_code is None


async def test_other_sites_can_not_close(visitor: Visitor) -> None:
    """A form without the token is refused, as everywhere in the admin."""
    visitor.client.handler.enforce_csrf_checks = True
    response = await visitor.post(path="*", confirmed="")
    assert response.status_code == 403


async def test_from_async_django(visitor: Visitor, root: User) -> None:
    """The page is served where an event loop runs, too."""
    client = AsyncClient()
    await sync_to_async(client.force_login)(root)
    async with visitor.sockets.connect("/ws/room/a/") as ws:
        await ws.settle()
        response = await client.get(PAGE)
    assert b"/ws/room/a/" in response.content


@pytest.mark.parametrize("where", ["page", "table", "watch", "confirm", "close"])
async def test_an_engine_that_is_away(where: str, visitor: Visitor, settings: Any) -> None:
    """Why nothing can be told stands on the page."""
    name = "tests.management.test_connections.Away"
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": name, "PREFIX": "staff"}}
    with real_engine():
        match where:
            case "page":
                page = await visitor.get()
            case "table":
                page = await visitor.get("table/")
            case "watch":
                async with visitor.sockets.connect(f"{PAGE}watch/") as ws:
                    page = str(await ws.receive())
            case "confirm":
                page = (await visitor.post(path="*")).content.decode()
            case _:
                await visitor.post(path="*", confirmed="")
                page = await visitor.get()
    assert "It is away" in page


def test_an_anonymous_user_may_nothing(rf: RequestFactory) -> None:
    """What is asked of a user is asked of nobody, too."""
    from wsconsumer.staff.access import may_close, may_view  # it needs the admin

    request = rf.get(PAGE)
    request.user = AnonymousUser()
    assert not may_view(request)
    assert not may_close(request)
