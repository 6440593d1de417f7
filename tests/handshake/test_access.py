"""``handshake/access.py``: a consumer is a view down to ``dispatch()``."""

from __future__ import annotations

import functools
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required, login_required, permission_required
from django.contrib.auth.mixins import (
    LoginRequiredMixin,
    PermissionRequiredMixin,
    UserPassesTestMixin,
)
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic.detail import SingleObjectMixin

from tests.handshake.telling import Tell, denied, heard, logged_in

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class Members(LoginRequiredMixin, Tell):
    """For those who are logged in."""


class Viewers(PermissionRequiredMixin, Tell):
    """For those who have a permission."""

    permission_required = "auth.view_user"
    raise_exception = True


class Ada(UserPassesTestMixin, Tell):
    """For one of them, whom the ORM's sync methods find."""

    raise_exception = True

    def test_func(self) -> bool:
        return User.objects.filter(username=self.user.get_username()).exists()


@method_decorator([never_cache, login_required], name="dispatch")
class Decorated(Tell):
    """The same with decorators."""


@method_decorator(permission_required("auth.view_user", raise_exception=True), name="dispatch")
class DecoratedMembers(Members):
    """A decorator outside of a mixin."""


@method_decorator(login_not_required, name="dispatch")
class Public(Tell):
    """Open where ``LoginRequiredMiddleware`` closes."""


class Overriding(Tell):
    """Answers by itself, in words of its own."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if kwargs.get("word") == "swordfish":
            return super().dispatch(request, *args, **kwargs)
        return HttpResponse("say the word", status=402)


class Doc(SingleObjectMixin, Tell):  # type: ignore[type-arg]  # generic in the stubs alone
    """A mixin of generic views that is no access mixin may be overridden by async code."""

    async def get_object(self, queryset: Any = None) -> Any:
        return await User.objects.aget(pk=self.kwargs["pk"])


class Tagging:
    """A decorator that is an object, and returns what it was given."""

    def __call__(self, view: Any) -> Any:
        return view


def counting(dispatch: Any) -> Any:
    """Decorate a method by hand."""

    @functools.wraps(dispatch)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return dispatch(*args, **kwargs)

    return wrapper


@method_decorator(Tagging(), name="dispatch")
class Counted(Tell):
    """Decorated in two more ways."""

    @counting
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)


urlpatterns = [
    path("ws/members/", Members.as_view()),
    path("ws/viewers/", Viewers.as_view()),
    path("ws/ada/", Ada.as_view()),
    path("ws/decorated/", Decorated.as_view()),
    path("ws/both/", DecoratedMembers.as_view()),
    path("ws/public/", Public.as_view()),
    path("ws/word/<word>/", never_cache(Overriding.as_view())),
    path("ws/counted/", Counted.as_view()),
    path("ws/doc/<int:pk>/", Doc.as_view()),
]

pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def ada(transactional_db: None) -> User:
    return User.objects.create_user("ada")


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize("address", ["/ws/members/", "/ws/decorated/"])
async def test_a_stranger_is_sent_to_the_login_page(address: str) -> None:
    """LoginRequiredMixin and login_required on dispatch() deny with their redirect."""
    denial = await denied(address)
    assert denial.status == 302
    assert denial.headers["Location"] == f"/accounts/login/?next={address}"


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize("address", ["/ws/viewers/", "/ws/ada/"])
async def test_a_stranger_is_refused(address: str) -> None:
    """With raise_exception the denial is 403."""
    assert (await denied(address)).status == 403


@pytest.mark.parametrize("address", ["/ws/members/", "/ws/decorated/", "/ws/ada/"])
async def test_a_user_gets_in(address: str, ada: User) -> None:
    """Who passes gets the consumer, with its facts."""
    assert await heard(address, await sync_to_async(logged_in)(ada)) == "ada"


@pytest.mark.parametrize("address", ["/ws/viewers/", "/ws/both/"])
async def test_a_permission(address: str, ada: User) -> None:
    """A permission opens the door, and its absence closes it for a user too."""
    lines = await sync_to_async(logged_in)(ada)
    assert (await denied(address, lines)).status == 403
    await ada.user_permissions.aadd(await Permission.objects.aget(codename="view_user"))
    assert await heard(address, lines) == "ada"


@pytest.mark.usefixtures("transactional_db")
async def test_an_override_answers() -> None:
    """A dispatch() of one's own may answer, or call super()."""
    denial = await denied("/ws/word/please/")
    assert (denial.status, denial.body) == (402, b"say the word")
    assert await heard("/ws/word/swordfish/") == "AnonymousUser"


@pytest.mark.usefixtures("transactional_db")
async def test_login_not_required_on_dispatch() -> None:
    """The view has what decorators say of dispatch(), which LoginRequiredMiddleware reads."""
    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    with override_settings(MIDDLEWARE=middleware):
        assert await heard("/ws/public/") == "AnonymousUser"
        assert (await denied("/ws/word/swordfish/")).status == 302


async def test_plain_http() -> None:
    """A page's request gets its 426 before dispatch()."""
    with override_settings(MIDDLEWARE=[]):
        assert (await AsyncClient().get("/ws/members/")).status_code == 426


def test_the_command_shows_them() -> None:
    """``manage.py websockets`` lists what stands before dispatch(), outermost first."""
    out = io.StringIO()
    call_command("websockets", "--routes", "--json", stdout=out)
    rows = json.loads(out.getvalue())["routes"]
    decorators = {row["path"]: row["decorators"] for row in rows}
    assert decorators == {
        "/ws/members/": ["LoginRequiredMixin"],
        "/ws/viewers/": ["PermissionRequiredMixin"],
        "/ws/ada/": ["UserPassesTestMixin"],
        "/ws/decorated/": ["never_cache", "login_required"],
        "/ws/both/": ["permission_required", "LoginRequiredMixin"],
        "/ws/public/": ["login_not_required"],
        "/ws/word/<word>/": ["never_cache", "Overriding.dispatch"],
        "/ws/counted/": ["Tagging", "counting", "Counted.dispatch"],
        "/ws/doc/<int:pk>/": [],
    }


def test_a_view_names_its_class() -> None:
    """Metrics and traces find the class where they find that of Django's own views."""
    view: Any = Members.as_view(fact=str)
    assert (view.view_class, view.view_initkwargs) == (Members, {"fact": str})
    assert not hasattr(view, "__wrapped__")
