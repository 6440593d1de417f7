"""``validity.py``: which sessions and users still count."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends import cache, cached_db, db, file, signed_cookies
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from django.utils import timezone

from wsconsumer import validity
from wsconsumer.identities import Login
from wsconsumer.validity import (
    PASSWORD_CHANGED,
    SESSION_ENDED,
    USER_GONE,
    PartlyUnknown,
    Subject,
    alive_keys,
    find_ended,
    may_log_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

BACKEND = "django.contrib.auth.backends.ModelBackend"


class Lazy(LocMemCache):
    """A cache whose client hides that its server is away."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def get_many(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}


class Strict(ModelBackend):
    """Fails for one user."""

    def user_can_authenticate(self, user: Any) -> bool:
        if user.username == "ada":
            raise RuntimeError("not her")
        return True


class Lenient:
    """A backend that does not say who may log in."""

    def get_user(self, pk: Any) -> Any:
        return User.objects.get(pk=pk)


@pytest.fixture
def ada() -> User:
    """A user."""
    return User.objects.create_user("ada", password="secret")


@pytest.fixture
def _files(tmp_path: Any) -> Iterator[None]:
    with override_settings(SESSION_FILE_PATH=str(tmp_path)):
        yield
    if "_storage_path" in vars(file.SessionStore):
        del cast("Any", file.SessionStore)._storage_path  # noqa: SLF001  # of the settings above


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("engine", [cache, cached_db, db, file, signed_cookies])
def test_sessions_of_each_engine(engine: Any) -> None:
    """Those that were ended are not alive any more."""
    stores = [engine.SessionStore() for _ in range(3)]
    for number, store in enumerate(stores):
        store["number"] = number
        store.save()
    keys = [store.session_key for store in stores]
    assert sorted(alive_keys(engine.SessionStore, keys, [])) == sorted(keys)
    stores[0].delete()
    other = keys[0] + "x" if engine is signed_cookies else keys[0]
    assert sorted(alive_keys(engine.SessionStore, [other, *keys[1:]], [])) == sorted(keys[1:])


def test_sessions_that_have_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that nobody has cleared yet does not count, nor does a cookie that is too old."""
    store = db.SessionStore()
    store.save()
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert list(alive_keys(db.SessionStore, [str(store.session_key)], [])) == []
    cookie = signed_cookies.SessionStore()
    cookie.save()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    with override_settings(SESSION_COOKIE_AGE=3599):
        assert list(alive_keys(signed_cookies.SessionStore, [str(cookie.session_key)], [])) == []
    with override_settings(SESSION_COOKIE_AGE=3601):
        assert (
            len(list(alive_keys(signed_cookies.SessionStore, [str(cookie.session_key)], []))) == 1
        )


def test_a_cache_that_is_away() -> None:
    """Where nothing is kept, nothing is known."""
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.Lazy"}}):
        assert caches["default"].get_many(["a"]) == {}
        with pytest.raises(ConnectionError, match="does not keep what it is given"):
            alive_keys(cache.SessionStore, ["k" * 32], [])


class Picky(file.SessionStore):
    """An engine that fails for one session."""

    def exists(self, session_key: str) -> bool:
        if session_key == "bad":
            raise RuntimeError("not this one")
        return session_key == "alive"


class Away(db.SessionStore):
    """An engine that can't be asked."""

    @classmethod
    def get_model_class(cls) -> Any:
        raise OSError("no route to host")


def test_a_session_that_can_not_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as alive, and so do all that are left once the engine has failed for too long."""
    errors: list[Exception] = []
    assert alive_keys(Picky, ["bad", "alive", "gone"], errors) == ["bad", "alive"]
    assert len(errors) == 1
    monkeypatch.setattr(validity, "PATIENCE", 0)
    assert alive_keys(Picky, ["gone", "bad", "gone"], errors) == ["bad", "gone"]


def test_an_engine_that_can_not_be_asked(ada: User) -> None:
    """What is known of others is known, and the caller hears what failed."""
    login = subject(ada).login
    subjects = [
        Subject(Away, "k", login, str(ada.pk)),
        Subject(Picky, "gone", login, str(ada.pk)),
        Subject(Away, "k", None, "123456"),
    ]
    with pytest.raises(PartlyUnknown) as caught:
        find_ended(subjects)
    assert caught.value.reasons == [None, SESSION_ENDED, USER_GONE]
    assert str(caught.value.__cause__) == "no route to host"


def test_users_who_can_not_be_asked_for(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that have ended are found all the same."""

    def fail(**_: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(User._default_manager, "filter", fail, raising=False)  # noqa: SLF001  # which is asked
    subjects = [subject(ada), subject(ada, store=Picky, key="gone")]
    with pytest.raises(PartlyUnknown) as caught:
        find_ended(subjects)
    assert caught.value.reasons == [None, SESSION_ENDED]


def test_a_key_of_another_type(ada: User) -> None:
    """A session from before primary keys were numbers has no user, and others have theirs."""
    old = subject(ada, login=Login("a-b-c", "", BACKEND), pk=None)
    assert find_ended([old, subject(ada)]) == [USER_GONE, None]


def subject(user: User, **changes: Any) -> Subject:
    """Return what a websocket of a user stands on."""
    login = Login(str(user.pk), user.get_session_auth_hash(), BACKEND)
    return Subject(None, None, login, str(user.pk))._replace(**changes)


def test_a_batch_is_two_queries(ada: User, django_assert_num_queries: Any) -> None:
    """One for the sessions and one for the users, however many there are."""
    users = [ada, *(User.objects.create_user(f"user{number}") for number in range(9))]
    subjects = []
    for user in users:
        store = db.SessionStore()
        store.save()
        subjects.append(subject(user, store=db.SessionStore, key=store.session_key))
    gone = subject(ada, store=db.SessionStore, key="k" * 32)
    with django_assert_num_queries(2):
        assert find_ended([*subjects, gone]) == [None] * 10 + [SESSION_ENDED]


def test_nothing_to_ask(django_assert_num_queries: Any) -> None:
    """Nothing is asked about nobody."""
    with django_assert_num_queries(0):
        assert find_ended([Subject(None, None, None, None)]) == [None]


def test_users(ada: User) -> None:
    """Who is inactive or gone has to go, with a session or a token."""
    token = Subject(None, None, None, str(ada.pk))
    other = subject(ada, pk="77")
    nobody = subject(User(pk=77))
    assert find_ended([subject(ada), token, other, nobody]) == [None, None, USER_GONE, USER_GONE]
    User.objects.update(is_active=False)
    assert find_ended([subject(ada), token]) == [USER_GONE, USER_GONE]


def test_passwords(ada: User) -> None:
    """The session's hash has to be the user's, by the secret key or an older one."""
    old = subject(ada)
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
        assert find_ended([old]) == [PASSWORD_CHANGED]
    from django.conf import settings

    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert find_ended([old]) == [None]
    ada.set_password("new")
    ada.save()
    token = Subject(None, None, None, str(ada.pk))
    assert find_ended([old, subject(ada), token]) == [PASSWORD_CHANGED, None, None]


def test_a_user_model_without_a_hash(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing that could change."""
    monkeypatch.delattr("django.contrib.auth.base_user.AbstractBaseUser.get_session_auth_hash")
    assert find_ended([Subject(None, None, Login(str(ada.pk), "", BACKEND), None)]) == [None]


def test_backends(ada: User, caplog: pytest.LogCaptureFixture) -> None:
    """The backend of the login decides; one that fails closes nobody."""
    lenient, strict = f"{__name__}.Lenient", f"{__name__}.Strict"
    assert may_log_in(ada, BACKEND)
    assert not may_log_in(ada, "no.longer.installed")
    assert find_ended([subject(ada, login=subject(ada).login._replace(backend="gone"))]) == [  # type: ignore[union-attr]  # it has one
        USER_GONE
    ]
    with override_settings(AUTHENTICATION_BACKENDS=[lenient, strict]):
        assert may_log_in(ada, lenient)
        assert find_ended([Subject(None, None, None, str(ada.pk))]) == [None]
        assert "A websocket's user could not be checked." in caplog.text
        ada.is_active = False
        assert not may_log_in(ada, lenient)
    assert get_user_model() is User
