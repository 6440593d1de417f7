"""``logouts.py``: logins that end, as Django tells of them, and what becomes of websockets."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth import alogout, logout, update_session_auth_hash
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends import file
from django.contrib.sessions.backends.cache import SessionStore
from django.db import transaction
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from tests.test_disconnecting import Ended, session
from wsconsumer import BackendError, asgi_view, disconnect_user, logouts, refusals
from wsconsumer.counters import counters
from wsconsumer.decorators import authenticate_with
from wsconsumer.logouts import connect_signals
from wsconsumer.protocol import OWN_SUBPROTOCOL
from wsconsumer.test import WebsocketClient, connect, run_on_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db

ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


def by_token(request: HttpRequest) -> User | None:
    """Find the user of a token."""
    return User.objects.filter(username=request.headers.get("X-User")).first()


def log_out(request: HttpRequest) -> HttpResponse:
    """A page that logs out."""
    logout(request)
    return HttpResponse()


async def log_out_async(request: HttpRequest) -> HttpResponse:
    """The same in async code."""
    await alogout(request)
    return HttpResponse()


def change_password(request: Any) -> HttpResponse:
    """A page that changes the password, as Django's own does."""
    request.user.set_password("new")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse()


def meanwhile(view: Any) -> Any:
    """Disconnect the user while the handshake is under way."""

    @wraps(view)
    def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
        disconnect_user(request.user, code=4401)
        return view(request, *args, **kwargs)

    return wrapper


urlpatterns = [
    path("ws/", Ended.as_view()),
    path("ws/token/", authenticate_with(by_token)(Ended.as_view())),
    path("ws/mounted/", asgi_view(Ended.as_asgi())),
    path("ws/meanwhile/", meanwhile(Ended.as_view())),
    path("logout/", log_out),
    path("logout/async/", log_out_async),
    path("password/", change_password),
]


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada", password="secret")


@pytest.fixture
def page(ada: User, websocket_client: WebsocketClient) -> WebsocketClient:
    """A browser that Ada is logged in with."""
    websocket_client.force_login(ada)
    return websocket_client


@pytest.fixture
def phone(ada: User, websocket_client: WebsocketClient) -> WebsocketClient:
    """Another one."""
    client = WebsocketClient()
    client.force_login(ada)
    return client


# Logout


@pytest.fixture(params=ENGINES)
def _engine(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[None]:
    name = f"django.contrib.sessions.backends.{request.param}"
    with override_settings(SESSION_ENGINE=name, SESSION_FILE_PATH=str(tmp_path)):
        yield
    if "_storage_path" in vars(file.SessionStore):
        del cast("Any", file.SessionStore)._storage_path  # noqa: SLF001  # of the settings above


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("url", ["/logout/", "/logout/async/"], ids=["sync", "async"])
async def test_a_page_logs_out(url: str, ada: User, websocket_client: WebsocketClient) -> None:
    """The websockets of its session are closed with 4501; the user's others stay."""
    client = websocket_client
    await client.aforce_login(ada)
    async with client.connect("/ws/") as ws, client.connect("/ws/") as tab:
        await client.get(url)
        for each in (ws, tab):
            assert (await each.receive_close(), each.close_reason) == (4501, "logged out")
    assert counters["disconnected"] == 2


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
async def test_a_cookie_that_is_kept(page: WebsocketClient) -> None:
    """A signed cookie could log in after the logout, but is refused for a minute."""
    async with page.connect("/ws/") as ws:
        cookie = page.cookies["sessionid"].value
        await page.get("/logout/")
        assert await ws.receive_close() == 4501
        page.cookies["sessionid"] = cookie
        for url in ("/ws/", "/ws/mounted/"):
            async with page.connect(url) as again:
                assert again.denial is not None
                assert again.denial.status == 403
        async with page.connect("/ws/", subprotocols=[OWN_SUBPROTOCOL]) as again:
            assert await again.receive_close() == 4501
    assert counters["disconnected_refused"] == 3


async def test_another_session_stays(page: WebsocketClient, phone: WebsocketClient) -> None:
    """Logging out of one browser is not logging out of all."""
    async with page.connect("/ws/") as ws, phone.connect("/ws/") as other:
        await page.alogout()
        assert await ws.receive_close() == 4501
        await other.expect_nothing()


async def test_a_logout_in_the_event_loop(ada: User) -> None:
    """Sessions without a database can be logged out there, and nothing blocks the loop."""
    request = HttpRequest()
    request.user = AnonymousUser()
    request.session = session("s" * 32)
    async with connect(Ended, session=session("s" * 32)) as ws:
        logout(request)
        assert await ws.receive_close() == 4501


async def test_a_visitor_without_a_session() -> None:
    """There is nobody to disconnect."""
    request = HttpRequest()
    async with connect(Ended) as ws:
        await user_logged_out.asend(User, request=request, user=None)
        await user_logged_out.asend(User, request=None, user=None)
        request.session = SessionStore()
        await user_logged_out.asend(User, request=request, user=None)
        await ws.expect_nothing()


async def test_a_token_is_not_of_the_cookies_session(page: WebsocketClient) -> None:
    """Whoever came with a token stays when the session ends whose cookie was sent along."""
    async with page.connect("/ws/token/", headers={"X-User": "ada"}) as ws:
        await page.alogout()
        await ws.expect_nothing()
        await sync_to_async(disconnect_user)(await User.objects.aget())
        assert await ws.receive_close() == 4501


async def test_a_user_who_is_disconnected_during_the_handshake(page: WebsocketClient) -> None:
    """What the handshake has read is old by then, so it is refused."""
    async with page.connect("/ws/") as ws, page.connect("/ws/meanwhile/") as late:
        assert late.denial is not None
        assert late.denial.status == 403
        assert await ws.receive_close() == 4401


# Passwords and users


async def test_a_new_password(page: WebsocketClient, phone: WebsocketClient) -> None:
    """All websockets of the user are closed with 4401 after the commit; the page comes back."""
    async with page.connect("/ws/") as ws, phone.connect("/ws/") as other:
        await page.get("/password/")
        await ws.expect_nothing()
        await run_on_commit()
        for each in (ws, other):
            assert (await each.receive_close(), each.close_reason) == (
                4401,
                "the password was changed",
            )
        async with page.connect("/ws/") as again:
            assert again.accepted
            await again.expect_nothing()


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def deactivate_alone(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def upgrade_password(user: Any) -> None:
    user.set_password("secret")
    user._password = None  # noqa: SLF001  # as Django does when it upgrades a hash
    user.save(update_fields=["password"])


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (deactivate, 4501, "deactivated"),
        (deactivate_alone, 4501, "deactivated"),
        (User.delete, 4501, "deleted"),
        (upgrade_password, 4401, "the password was changed"),
    ],
)
async def test_a_user_who_may_not_stay(
    change: Callable[[User], None], code: int, reason: str, ada: User, page: WebsocketClient
) -> None:
    """Websockets are closed once it is committed."""
    async with page.connect("/ws/") as ws:
        await sync_to_async(change)(ada)
        await ws.expect_nothing()
        await run_on_commit()
        assert (await ws.receive_close(), ws.close_reason) == (code, reason)


def rename(user: User) -> None:
    user.username = "countess"
    user.save()


def log_in_again(user: User) -> None:
    user.save(update_fields=["last_login"])


def roll_back(user: User) -> None:
    with transaction.atomic():
        deactivate(user)
        transaction.set_rollback(True)


def create_inactive(user: User) -> None:
    User.objects.create_user("bob", is_active=False)


@pytest.mark.parametrize("change", [rename, log_in_again, roll_back, create_inactive])
async def test_a_save_that_closes_nobody(
    change: Callable[[User], None], ada: User, page: WebsocketClient
) -> None:
    """Of other saves nobody is told, and they ask the database nothing more."""
    async with page.connect("/ws/") as ws:
        await sync_to_async(change)(ada)
        await run_on_commit()
        await ws.expect_nothing()
    assert counters["disconnected"] == 0


async def test_users_who_may_be_inactive(ada: User, page: WebsocketClient) -> None:
    """A backend that lets inactive users in decides."""
    backend = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    with override_settings(AUTHENTICATION_BACKENDS=[backend]):
        async with page.connect("/ws/") as ws:
            await sync_to_async(deactivate)(ada)
            await run_on_commit()
            await ws.expect_nothing()


def test_a_backend_that_fails(ada: User, caplog: pytest.LogCaptureFixture) -> None:
    """The save goes on."""
    with override_settings(AUTHENTICATION_BACKENDS=["no.such.Backend"]):
        deactivate(ada)
    assert "A user who was saved could not be checked." in caplog.text


def test_a_user_whom_no_order_can_name() -> None:
    """Those with a key of an odd kind are left to ``revalidate_every``, and their save goes on."""
    odd: Any = 1.5
    logouts.on_delete(User(pk=odd), "default")


# What goes wrong


AWAY = {
    "GROUPS": {
        "BACKEND": "wsconsumer.groups.redis.RedisBackend",
        "LOCATION": "redis://127.0.0.1:9",
        "OPTIONS": {"TIMEOUT": 0.5},
    }
}


@pytest.mark.django_db(transaction=True)
def test_without_autocommit() -> None:
    """Whoever commits by hand is told of at once, since no commit is heard of."""
    ada = User.objects.create_user("ada")
    transaction.set_autocommit(False)
    try:
        with override_settings(WSCONSUMER=AWAY):
            deactivate(ada)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert counters["disconnect_lost"] == 1


@pytest.mark.django_db(transaction=True)
def test_the_engine_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a logout nor a save fails; the log says what was lost, and a counter counts."""
    ada = User.objects.create_user("ada")
    client = Client()
    client.force_login(ada)
    with override_settings(WSCONSUMER=AWAY):
        assert client.get("/logout/").status_code == 200
        deactivate(ada)
    lost = [r for r in caplog.records if r.getMessage().startswith("Websockets stay open until")]
    assert [record.levelname for record in lost] == ["ERROR", "ERROR"]
    assert isinstance(lost[0].exc_info and lost[0].exc_info[1], BackendError)
    assert "(logged out)" in lost[0].getMessage()
    assert counters["disconnect_lost"] == 2


async def test_the_engine_is_away_in_async_code(caplog: pytest.LogCaptureFixture) -> None:
    """The same in an event loop."""
    with override_settings(WSCONSUMER=AWAY):
        request = HttpRequest()
        request.session = session("t" * 32)
        logouts.on_logout(request)
        (task,) = logouts._telling  # noqa: SLF001  # to wait for it
        await task
    assert counters["disconnect_lost"] == 1
    assert "(logged out)" in caplog.text


async def test_it_is_told_again_after_the_commit(page: WebsocketClient) -> None:
    """Until then the session can be loaded, so whoever came in meanwhile is closed then."""
    async with page.connect("/ws/") as ws:
        key = page.cookies["sessionid"].value
        await page.get("/logout/")
        assert await ws.receive_close() == 4501
        refusals.sessions.clear()  # as in a process that did not hear of it
        async with connect(Ended, session=session(key)) as late:
            await run_on_commit()
            assert await late.receive_close() == 4501


def test_a_project_without_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is connected where django.contrib.auth is not installed."""
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    monkeypatch.setattr(post_save, "connect", lambda *_, **__: pytest.fail("connected"))
    connect_signals()


def test_it_is_connected_once() -> None:
    """However often the app is made ready, a logout is told once."""
    connect_signals()  # other tests may have made models of users since
    before = len(user_logged_out.receivers), len(post_save.receivers)
    connect_signals()
    assert (len(user_logged_out.receivers), len(post_save.receivers)) == before
