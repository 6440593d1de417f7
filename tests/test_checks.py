"""``checks.py``: one id per mistake, told by ``manage.py check``."""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.apps import apps
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application as get_django_application
from django.core.checks import run_checks
from django.db import connections
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path, re_path, register_converter
from django.urls.converters import StringConverter
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from wsconsumer import WebsocketConsumer, asgi_view
from wsconsumer.asgi import WebsocketDispatcher, get_asgi_application
from wsconsumer.group_checks import check_processes
from wsconsumer.messages import Event, MessageConsumer, on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Chat(WebsocketConsumer):
    """Nothing but a name."""


urlpatterns: list[Any] = [path("", lambda request: HttpResponse()), path("ws/", Chat.as_view())]
application = None


def found(*, deploy: bool = False) -> dict[str, str]:
    """Return our checks' ids with message and hint."""
    messages = run_checks(include_deployment_checks=deploy)
    return {
        message.id: f"{message.msg} {message.hint}"
        for message in messages
        if message.id and message.id.startswith("wsconsumer.")
    }


here = override_settings(ROOT_URLCONF=__name__)


@here
def test_a_good_project_has_no_messages() -> None:
    """Nothing is said where nothing is wrong."""
    assert found(deploy=True) == {}


@pytest.mark.parametrize(
    ("value", "check_id"),
    [([], "E001"), ({"THREAD": 1}, "E002"), ({"THREADS": 0}, "E003")],
)
@here
def test_settings(value: Any, check_id: str) -> None:
    """Mistakes in WSCONSUMER are E001 to E003, and stop no other check."""
    with override_settings(WSCONSUMER=value, ASGI_APPLICATION="nowhere.at.all"):
        assert list(found(deploy=True)) == [f"wsconsumer.{check_id}"]


@here
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (get_asgi_application, None),
        (lambda: ASGIStaticFilesHandler(cast("Any", get_asgi_application())), None),
        (lambda: lambda scope, receive, send: None, None),
        (get_django_application, "is Django's own application, which serves no websockets"),
        (lambda: ASGIStaticFilesHandler(get_django_application()), "is Django's own application"),
        (lambda: of_channels(WebsocketDispatcher()), None),
        (lambda: of_channels(OldChat.as_asgi()), "is a router of Channels, which never gets to"),
        (lambda: ProtocolTypeRouter({"http": get_django_application()}), "is a router of Channels"),
    ],
    ids=[
        "ours",
        "ours-with-static-files",
        "by-hand",
        "django",
        "django-with-static-files",
        "channels-and-ours",
        "channels",
        "channels-without-websockets",
    ],
)
def test_asgi_application(
    make: Callable[[], Any], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E004: neither Django's own application nor a router of Channels gets to the consumers."""
    monkeypatch.setitem(globals(), "application", make())
    with override_settings(ASGI_APPLICATION=f"{__name__}.application"):
        messages = found()
    assert messages.pop("wsconsumer.W008")
    assert (expected is None) == (messages == {})
    if expected:
        assert expected in messages["wsconsumer.E004"]
        assert "import get_asgi_application from wsconsumer.asgi" in messages["wsconsumer.E004"]


@here
def test_asgi_application_that_is_not_there() -> None:
    """E004: a name that can't be imported."""
    with override_settings(ASGI_APPLICATION="nowhere.application"):
        assert "can't be imported: No module named 'nowhere'" in found()["wsconsumer.E004"]


def test_asgi_application_without_consumers() -> None:
    """As long as no consumer is mapped, Django's own application is fine."""
    with override_settings(ASGI_APPLICATION="nowhere.application"):
        assert found() == {}


@pytest.mark.parametrize(
    ("view", "wrong"),
    [
        (Chat, "the class itself"),
        (Chat.as_asgi(), r"as_asgi\(\)"),
        (Chat.as_view, "as_view, without a call"),
    ],
    ids=["class", "as_asgi", "as_view"],
)
def test_a_consumer_that_is_no_view(view: Any, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """E005: a consumer in a URLconf, also an included one, must be a view."""
    monkeypatch.setitem(globals(), "urlpatterns", [path("a/", include([path("b/", view)]))])
    with override_settings(ROOT_URLCONF=__name__):
        messages = found()
    assert set(messages) == {"wsconsumer.E005"}
    assert messages["wsconsumer.E005"].startswith("The URL pattern '/a/b/' maps Chat with ")
    assert messages["wsconsumer.E005"].endswith("Write Chat.as_view().")
    assert wrong.replace("\\", "") in messages["wsconsumer.E005"]


def hiding(view: Any) -> Any:
    """Decorate without functools.wraps()."""
    return lambda *args, **kwargs: view(*args, **kwargs)


def api_view(view: Any) -> Any:
    """Do what Django REST framework's ``api_view`` does: make a view of a class with a handler."""

    class WrappedView(View):
        pass

    WrappedView.get = lambda self, *args, **kwargs: view(*args, **kwargs)  # type: ignore[attr-defined]
    return csrf_exempt(WrappedView.as_view())


class Wrapper:
    """A decorator that is an object, and copies nothing."""

    def __init__(self, view: Any) -> None:
        self.view = view

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.view(*args, **kwargs)


@pytest.mark.parametrize(
    "decorator",
    [
        hiding,
        api_view,
        Wrapper,
        lambda view: functools.partial(view, page=1),
        lambda v: login_required(hiding(v)),
    ],
    ids=["no-wraps", "api_view", "object", "partial", "below-another"],
)
def test_a_decorator_that_hides(decorator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """E005: a consumer inside of a view that shows no sign of it would be a quiet 404."""
    monkeypatch.setitem(globals(), "urlpatterns", [path("ws/", decorator(Chat.as_view()))])
    with override_settings(ROOT_URLCONF=__name__):
        messages = found()
    assert set(messages) == {"wsconsumer.E005"}
    assert messages["wsconsumer.E005"].startswith(
        f"The URL pattern '/ws/' has a decorator around {__name__}.Chat that hides that it serves"
    )
    assert "needs functools.wraps(). api_view() and the like" in messages["wsconsumer.E005"]


def page(request: Any) -> HttpResponse:
    """Call itself at times, from an empty cell at first."""
    return HttpResponse()


def later() -> Any:
    """Return a view with a cell that is still empty."""

    def view(request: Any) -> Any:
        return later_still(request)

    if not callable(view):
        later_still: Any = page
    return view


@pytest.mark.parametrize(
    "view",
    [page, hiding(page), api_view(page), later(), View.as_view()],
    ids=["function", "decorated", "api_view", "empty-cell", "class"],
)
def test_pages_hide_nothing(view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of every make are left alone."""
    monkeypatch.setitem(globals(), "urlpatterns", [path("", view), path("ws/", Chat.as_view())])
    with override_settings(ROOT_URLCONF=__name__):
        assert found() == {}


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("on_connect", "connect(self)"),
        ("on_receive", "receive(self, data)"),
        ("on_message", "receive(self, data)"),
        ("on_disconnect", "disconnect(self, code, reason)"),
    ],
)
def test_hooks_of_other_frameworks(name: str, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """W006: a method that Starlette would call may be one's own, or a hook that never runs."""
    consumer: Any = type("Ported", (WebsocketConsumer,), {name: lambda self: None})
    views = [path("a/", consumer.as_view()), path("b/", consumer.as_view(max_groups=1))]
    monkeypatch.setitem(globals(), "urlpatterns", views)
    with override_settings(ROOT_URLCONF=__name__):
        messages = found()
    assert messages == {
        "wsconsumer.W006": f"{__name__}.Ported has {name}(), a hook of other frameworks, "
        f"which nothing calls here. Write `async def {hook}`, or give it another name."
    }


@pytest.mark.parametrize(
    ("before", "after", "taker"),
    [
        ([path("ws/<slug:room>/", Chat.as_view())], [], "ws/<slug:room>/"),
        ([path("ws/", include([re_path(r"", View.as_view())]))], [], "ws/"),
        ([], [path("ws/<slug:room>/", Chat.as_view())], None),
    ],
    ids=["by a converter", "by an include", "after it"],
)
def test_a_path_that_is_taken(
    before: list[Any], after: list[Any], taker: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W012: a websocket whose path an earlier pattern takes."""
    views = [*before, path("ws/", include([path("lobby/", Chat.as_view())])), *after]
    monkeypatch.setitem(globals(), "urlpatterns", views)
    with override_settings(ROOT_URLCONF=__name__):
        messages = found()
    assert messages == (
        {}
        if taker is None
        else {
            "wsconsumer.W012": f"No websocket gets to {__name__}.Chat at /ws/lobby/: the URL "
            f"pattern '{taker}', which comes first, takes that path. Put the path(), or the "
            "include() that it is in, before the other."
        }
    )


class Failing(StringConverter):
    """A converter that fails in a way that Django does not expect."""

    def to_python(self, value: str) -> str:
        raise RuntimeError(value)


register_converter(Failing, "failing")


def test_a_converter_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be resolved is not told as taken."""
    views = [path("<failing:x>/", View.as_view()), path("ws/", Chat.as_view())]
    monkeypatch.setitem(globals(), "urlpatterns", views)
    with override_settings(ROOT_URLCONF=__name__):
        assert found() == {}


def test_a_method_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the class calls itself is its own."""

    class Own(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            self.on_message(data)

        def on_message(self, data: str | bytes) -> None: ...

    monkeypatch.setitem(globals(), "urlpatterns", [path("ws/", Own.as_view())])
    with override_settings(ROOT_URLCONF=__name__):
        assert found() == {}


def test_handlers_of_a_channel_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """W006: as long as Channels is in the settings, its handlers are told; they would be silent."""

    class Knock(Event):
        pass

    class Ported(MessageConsumer):
        async def chat_message(self, event: Any) -> None: ...

        async def connect(self) -> None:
            await self.greet("hello")

        async def greet(self, event: str) -> None: ...

        @on
        async def knock(self, event: Knock) -> None: ...

    monkeypatch.setitem(globals(), "urlpatterns", [path("ws/", Ported.as_view())])
    with override_settings(ROOT_URLCONF=__name__):
        assert found() == {}
        with override_settings(CHANNEL_LAYERS={}):
            told = found()["wsconsumer.W006"]
    assert "Ported has chat_message(event), a handler of Channels' group_send()" in told
    assert "write `async def group_message(self, group, data)`" in told


class OldChat(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A consumer of Channels."""


def of_channels(websocket: Any) -> Any:
    """Put an application behind all that Channels puts before one."""
    routes = [path("old/", OldChat.as_asgi()), path("", URLRouter([path("", websocket)]))]
    websockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes)))
    return ProtocolTypeRouter({"http": get_django_application(), "websocket": websockets})


@pytest.mark.parametrize(
    ("views", "is_told"),
    [
        ([Chat.as_view()], True),
        ([], False),
        ([asgi_view(OldChat.as_asgi()), Chat.as_view()], False),
        ([asgi_view(URLRouter([]))], False),
    ],
    ids=["ours", "none", "channels-beside", "router"],
)
def test_settings_of_channels(
    views: list[Any], is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W007: CHANNEL_LAYERS is for Channels, and does nothing for consumers here."""
    patterns = [path(f"{number}/", view) for number, view in enumerate(views)]
    monkeypatch.setitem(globals(), "urlpatterns", patterns)
    with override_settings(ROOT_URLCONF=__name__, CHANNEL_LAYERS={"default": {}}):
        messages = found()
    assert list(messages) == (["wsconsumer.W007"] if is_told else [])
    if is_told:
        assert "carried by what WSCONSUMER['GROUPS'] names" in messages["wsconsumer.W007"]


@here
def test_runserver_without_daphne(monkeypatch: pytest.MonkeyPatch) -> None:
    """W008: where ASGI_APPLICATION says that daphne is meant, it has to be in INSTALLED_APPS."""
    monkeypatch.setitem(globals(), "application", get_asgi_application())
    assert found() == {}
    with override_settings(ASGI_APPLICATION=f"{__name__}.application"):
        assert found() == {
            "wsconsumer.W008": "daphne is not in INSTALLED_APPS, so manage.py runserver serves no "
            'websockets. Put "daphne" first in INSTALLED_APPS.'
        }
        with monkeypatch.context() as patch:
            patch.setattr(apps, "is_installed", lambda name: name == "daphne")
            assert found() == {}
        monkeypatch.setitem(sys.modules, "daphne", None)  # as if it were not installed
        assert found() == {}


@pytest.mark.timeout(70)  # a process of its own imports Twisted
def test_daphne_that_is_not_first() -> None:
    """Daphne's own check says that it has to come before staticfiles, in our command as well."""
    program = """
import django
from django.conf import settings
from django.core.checks import run_checks

urlpatterns = []
apps = ["django.contrib.staticfiles", "daphne", "wsconsumer"]
settings.configure(INSTALLED_APPS=apps, ROOT_URLCONF="__main__", STATIC_URL="static/")
django.setup()
from wsconsumer.checks import find_problems
print([message.id for message in run_checks()])
print([message.id for message in find_problems()])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("'daphne.E001'") == 2


@pytest.mark.parametrize(
    ("version", "good"),
    [("4.2.2", True), ("4.2.10", True), ("5.0", True), ("4.2.1", False), ("4.1", False)],
)
def test_daphne(version: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """W001: a daphne before 4.2.2 takes messages of any size."""
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert set(found()) == (set() if good else {"wsconsumer.W001"})


def test_no_daphne(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without daphne there is nothing to say of it."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert found() == {}


@pytest.mark.parametrize(
    ("entry", "whom"),
    [
        ("*", "any site"),
        ("null", "any site (in a sandboxed frame)"),
        ("file://", "any local file that a browser shows"),
        ("chrome-extension://*", "any page or extension of chrome-extension://"),
    ],
)
def test_any_origin(entry: str, whom: str) -> None:
    """W002: whom a wide entry lets in is told with --deploy, and only then."""
    with override_settings(WSCONSUMER={"ALLOWED_ORIGINS": [entry, "http://localhost:*"]}):
        assert found() == {}
        message = found(deploy=True)["wsconsumer.W002"]
    assert f"{entry!r}: {whom} can open sockets here in a visitor's browser, with every" in message
    assert "that its SameSite lets go along" in message


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("https://example.com/", 'Write "https://example.com".'),
        ("http://localhost:*", "write 'http://localhost:*' in WSCONSUMER['ALLOWED_ORIGINS']."),
        ("chrome-extension://*", "in WSCONSUMER['ALLOWED_ORIGINS']."),
    ],
)
def test_csrf_trusted_origins(entry: str, hint: str) -> None:
    """W005: what is of no use for websockets is a warning, since it may be of use to Django."""
    with override_settings(CSRF_TRUSTED_ORIGINS=[entry, "https://*.example.com"]):
        messages = found()
    assert list(messages) == ["wsconsumer.W005"]
    assert messages["wsconsumer.W005"].startswith(f"CSRF_TRUSTED_ORIGINS has {entry!r}, which lets")
    assert messages["wsconsumer.W005"].endswith(hint)


def test_groups_that_can_not_work() -> None:
    """E006: a backend that can't be made is told in the words of the error."""
    with override_settings(WSCONSUMER={"GROUPS": {"BACKEND": "no.such.Backend"}}):
        assert list(found()) == ["wsconsumer.E006"]
        assert "names the backend 'no.such.Backend'" in found()["wsconsumer.E006"]


@pytest.mark.parametrize(
    ("location", "prefix", "text"),
    [
        ("redis://h/0", None, None),
        ("redis://h", "site", None),
        ("redis://h/1", None, "it is a part of the channels' names (wsconsumer/1:...)"),
        ("redis://h/1", "site", "all sites with the PREFIX 'site' hear each other"),
    ],
    ids=["zero", "none", "no-prefix", "prefix"],
)
def test_a_database_of_redis(location: str, prefix: str | None, text: str | None) -> None:
    """W009: the number of a database does not do here what it does elsewhere."""
    groups = {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": location}
    groups |= {} if prefix is None else {"PREFIX": prefix}
    with override_settings(WSCONSUMER={"GROUPS": groups}):
        warnings = found()
    assert list(warnings) == ([] if text is None else ["wsconsumer.W009"])
    assert text is None or text in warnings["wsconsumer.W009"]


@pytest.mark.parametrize("setting", ["CLIENT_ADDRESS", "THREAD_CONTEXT"])
def test_a_function_that_is_not_there(setting: str) -> None:
    """E007: a setting names what can't be imported."""
    with override_settings(WSCONSUMER={setting: "tests.no_such.function"}):
        assert list(found()) == ["wsconsumer.E007"]
        text = f"WSCONSUMER[{setting!r}] = 'tests.no_such.function' can't be imported: No module"
        assert text in found()["wsconsumer.E007"]


@pytest.mark.parametrize("setting", ["CLIENT_ADDRESS", "THREAD_CONTEXT"])
def test_a_function_that_is_there(setting: str) -> None:
    """A name that can be imported is good."""
    with override_settings(WSCONSUMER={setting: "contextlib.nullcontext"}):
        assert found() == {}


class Limited(WebsocketConsumer):
    """Has a limit of its own."""

    max_connections_per_user = 5


FORGETFUL = {"BACKEND": "tests.groups.forgetful.ForgetfulBackend"}


@pytest.mark.parametrize(
    ("view", "limits", "where"),
    [
        (Chat.as_view(), {}, None),
        (Limited.as_view(max_connections_per_user=None), {}, None),
        (Limited.as_view(), {}, "Limited.max_connections_per_user is set"),
        (
            login_required(Chat.as_view(max_connections_per_address=5)),
            {},
            "Chat.max_connections_per_address is set",
        ),
        (
            Chat.as_view(),
            {"MAX_CONNECTIONS_PER_USER": 5},
            "WSCONSUMER['MAX_CONNECTIONS_PER_USER'] is set",
        ),
    ],
    ids=["none", "not-here", "class", "view", "settings"],
)
def test_a_backend_that_can_not_count(
    view: Any, limits: dict[str, Any], where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E011: limits of connections need a backend that counts for all processes."""
    monkeypatch.setattr(sys.modules[__name__], "urlpatterns", [path("ws/", view)])
    with here, override_settings(WSCONSUMER={"GROUPS": FORGETFUL, **limits}):
        errors = found()
    assert list(errors) == ([] if where is None else ["wsconsumer.E011"])
    if where is not None:
        text = errors["wsconsumer.E011"]
        assert text.startswith(f"{where}, which counts the connections of all processes. The")
        assert "ForgetfulBackend, can't count the connections of all processes. Name" in text
    with here, override_settings(WSCONSUMER=limits):
        assert found() == {}
    with here, override_settings(WSCONSUMER={"GROUPS": {"BACKEND": "no.such"}, **limits}):
        assert list(found()) == ["wsconsumer.E006"]
    with here, override_settings(WSCONSUMER={"NO_SUCH": 1, **limits}):
        assert list(found()) == ["wsconsumer.E002"]


@pytest.mark.parametrize(
    ("proxy", "name"),
    [
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, "SECURE_PROXY_SSL"),
        ({"USE_X_FORWARDED_HOST": True}, "USE_X_FORWARDED_HOST"),
        ({}, None),
    ],
)
def test_the_address_of_a_proxy(proxy: dict[str, Any], name: str | None) -> None:
    """W011: behind a proxy somebody has to say whose address counts."""
    limit = {"MAX_CONNECTIONS_PER_ADDRESS": 5}
    with override_settings(WSCONSUMER=limit, **proxy):
        warnings = found()
    assert list(warnings) == ([] if name is None else ["wsconsumer.W011"])
    if name is not None:
        text = warnings["wsconsumer.W011"]
        assert text.startswith("WSCONSUMER['MAX_CONNECTIONS_PER_ADDRESS'] is set, and the settings")
        assert f"have {name}" in text
    known = {"CLIENT_ADDRESS": "wsconsumer.addresses.remote_addr"}
    for settled in (limit | known, {"MAX_CONNECTIONS_PER_USER": 5}):
        with override_settings(WSCONSUMER=settled, **proxy):
            assert found() == {}


@pytest.mark.parametrize("number", ["", "1", "2", "auto"])
def test_web_concurrency(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """W003: several workers and groups in memory don't go together."""
    monkeypatch.setenv("WEB_CONCURRENCY", number)
    assert list(found()) == (["wsconsumer.W003"] if number == "2" else [])


@override_settings(CELERY_BROKER_URL="redis://")
def test_workers_of_a_queue() -> None:
    """W003: nor do groups in memory and Celery; with a backend that carries all is well."""
    assert found()["wsconsumer.W003"].startswith("The settings have CELERY_BROKER_URL, so there")
    backend = "tests.groups.test_subscriptions.Bus"
    with override_settings(WSCONSUMER={"GROUPS": {"BACKEND": backend}}):
        assert found() == {}


@override_settings()
def test_a_project_without_urls() -> None:
    """A worker's settings may name no URLconf; that is no reason for a check to fail."""
    del settings.ROOT_URLCONF
    assert check_processes() == []


@pytest.mark.parametrize("package", ["shop", "shop.settings", "other"])
def test_celery_without_settings(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W003: a celery.py beside the settings, or above them, is a sign of workers too."""
    directory = tmp_path / "shop" / "settings"
    directory.mkdir(parents=True)
    for file in ("shop/__init__.py", "shop/settings/__init__.py", "shop/celery.py", "other.py"):
        (tmp_path / file).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", f"{package}.local")
    expected = {} if package == "other" else {"wsconsumer.W003": "There is shop.celery, so there"}
    messages = {check: text[: len(expected[check])] for check, text in found().items()}
    assert messages == expected
    for name in ("shop", "shop.settings", "other"):
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that the tests run on says."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)


@pytest.mark.parametrize(
    ("pool", "size"),
    [
        (None, None),
        (False, None),
        (True, 4),
        ({"min_size": 2}, 2),
        ({"min_size": 2, "max_size": 11}, 11),
        ({"max_size": 12}, None),
        ({"max_size": None, "min_size": 12}, None),
    ],
    ids=str,
)
def test_a_pool_that_is_too_small(
    pool: Any, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W004: four handshake threads and eight lanes may want twelve connections at once."""
    database = connections.settings["default"]
    monkeypatch.setitem(database, "OPTIONS", {} if pool is None else {"pool": pool})
    expected = [] if size is None else ["wsconsumer.W004"]
    assert list(found()) == expected
    if size is not None:
        assert f"has a max_size of {size}, and" in found()["wsconsumer.W004"]


@override_settings(WSCONSUMER={"NO_SUCH": 1})
def test_pools_with_wrong_settings() -> None:
    """While the settings are wrong, only that is told."""
    assert list(found()) == ["wsconsumer.E002"]
