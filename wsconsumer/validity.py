"""
Whether sessions and users still count: what ``revalidate_every`` asks, in a thread.

Sync, and in batches: one query for the sessions of a batch and one for its users. Sessions in a
cache are asked for together, those in signed cookies are as old as they say, and any other engine
is asked whether a session exists, one by one. What can't be asked for keeps nobody else from being
found: read ``find_ended`` first.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from django.conf import settings
from django.contrib.auth import get_user_model, load_backend
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.core import signing
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .log_thread import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.contrib.sessions.backends.base import SessionBase

    from .identities import Login

logger = logging.getLogger("wsconsumer.consumer")

SALT: Final = "django.contrib.sessions.backends.signed_cookies"
"""With which Django signs its cookies."""

SESSION_ENDED: Final = "the session has ended"
USER_GONE: Final = "the user may not log in any more"
PASSWORD_CHANGED: Final = "the password was changed"  # noqa: S105  # a reason


PATIENCE: Final = 5.0
"""Seconds after which an engine that fails is asked for no further session of a batch."""


class PartlyUnknown(Exception):  # as ``reasons`` says
    """Something could not be asked for: that is the cause; ``reasons`` are what is known."""

    def __init__(self, reasons: list[str | None]) -> None:
        super().__init__()
        self.reasons = reasons


class Subject(NamedTuple):
    """
    What a websocket stands on: the session with its login, if it has one, and its user.

    ``pk``: of a user of ``AUTH_USER_MODEL``, as text; ``None`` for one that is not in the database.
    """

    store: type[SessionBase] | None
    key: str | None
    login: Login | None
    pk: str | None


def find_ended(subjects: Sequence[Subject]) -> list[str | None]:
    """
    Return for each of these why it has ended, or ``None``.

    Raises ``PartlyUnknown``, with what is known all the same, if something could not be asked.
    """
    errors: list[Exception] = []
    alive = _find_alive(subjects, errors)
    try:
        users = _find_users(subjects)
    except Exception as error:  # noqa: BLE001  # whatever a database raises
        errors.append(error)
        users = None
    reasons = [_judge(subject, alive, users) for subject in subjects]
    if errors:
        raise PartlyUnknown(reasons) from errors[0]
    return reasons


def _judge(
    subject: Subject, alive: set[tuple[Any, str]], users: dict[str, Any] | None
) -> str | None:
    store, key, login, pk = subject
    if store is not None and key is not None and (store, key) not in alive:
        return SESSION_ENDED
    if users is None:
        return None
    if login is not None:
        user = users.get(login.pk)
        if user is None or not _is_quietly(may_log_in, user, login.backend):
            return USER_GONE
        if not _is_quietly(_has_auth_hash, user, login.auth_hash):
            return PASSWORD_CHANGED
    if pk is not None and (login is None or pk != login.pk):
        user = users.get(pk)
        if user is None or not _is_quietly(may_log_in, user, None):
            return USER_GONE
    return None


def _is_quietly(test: Any, user: Any, argument: Any) -> bool:
    """Return what a test says; a project's own code that raises closes nobody."""
    try:
        return bool(test(user, argument))
    except Exception as error:  # noqa: BLE001  # it is the project's
        text = "A websocket's user could not be checked."
        log(logger, logging.ERROR, text, error=error)
        return True


# Sessions


def _find_alive(subjects: Iterable[Subject], errors: list[Exception]) -> set[tuple[Any, str]]:
    """Return those that are alive, or may be, since their engine failed."""
    keys: defaultdict[type[SessionBase], set[str]] = defaultdict(set)
    for subject in subjects:
        if subject.store is not None and subject.key is not None:
            keys[subject.store].add(subject.key)
    alive: set[tuple[Any, str]] = set()
    for store, wanted in keys.items():
        found: Iterable[str] = wanted
        try:
            found = alive_keys(store, list(wanted), errors)
        except Exception as error:  # noqa: BLE001  # an engine may be the project's
            errors.append(error)
        alive.update((store, key) for key in found)
    return alive


def alive_keys(store: Any, keys: Sequence[str], errors: list[Exception]) -> Iterable[str]:
    """
    Return those keys of which there are sessions that have not expired.

    Where sessions are asked for one by one, that of which an engine fails counts as alive, and the
    error is added to ``errors``.
    """
    if issubclass(store, SignedCookies):
        return [key for key in keys if _is_young(store, key)]
    if hasattr(store, "get_model_class"):
        # The database's, cached or not, and what is made after them.
        model = store.get_model_class()
        found = model.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
        return list(found.values_list("session_key", flat=True))
    if hasattr(store, "cache_key_prefix"):
        return _keys_in_cache(store(), keys)
    return _existing_keys(store, keys, errors)


def _existing_keys(store: Any, keys: Sequence[str], errors: list[Exception]) -> Iterable[str]:
    found: list[str] = []
    give_up_at = monotonic() + PATIENCE
    for number, key in enumerate(keys):
        try:
            exists = store().exists(key)
        except Exception as error:  # noqa: BLE001  # the engine may be the project's
            errors.append(error)
            if monotonic() >= give_up_at:
                return [*found, *keys[number:]]
            exists = True
        if exists:
            found.append(key)
    return found


def _is_young(store: type[SessionBase], key: str) -> bool:
    age = store().get_session_cookie_age()
    try:
        signing.TimestampSigner(salt=SALT).unsign(key, max_age=age)
    except signing.BadSignature:
        return False
    return True


def _keys_in_cache(store: Any, keys: Sequence[str]) -> Sequence[str]:
    cache, prefix = store._cache, store.cache_key_prefix  # noqa: SLF001  # there is no other way
    found = cache.get_many([prefix + key for key in keys])
    alive = [key for key in keys if prefix + key in found]
    if len(alive) < len(keys):
        # Some clients of caches hide that their server is away: then nothing is there.
        probe = f"wsconsumer.probe.{uuid4().hex}"
        cache.set(probe, probe, 60)
        if cache.get(probe) != probe:
            raise ConnectionError("The cache of the sessions does not keep what it is given.")
        cache.delete(probe)
    return alive


# Users


def _find_users(subjects: Iterable[Subject]) -> dict[str, Any]:
    names = {subject.pk for subject in subjects} | {
        subject.login.pk for subject in subjects if subject.login is not None
    }
    names.discard(None)
    if not names:
        return {}
    model: Any = get_user_model()
    field = model._meta.pk  # noqa: SLF001  # Django's public one
    pks = []
    for name in names:
        with suppress(ValidationError):  # of a session from before the keys were of this type
            pks.append(field.to_python(name))
    found = model._default_manager.filter(pk__in=pks)  # noqa: SLF001  # the same
    return {field.value_to_string(user): user for user in found}


def may_log_in(user: Any, backend: str | None = None) -> bool:
    """
    Return whether a user may still log in: by the backend that did it, or else by any.

    Those of Django that let inactive users in say so themselves.
    """
    if backend is not None and backend not in settings.AUTHENTICATION_BACKENDS:
        return False
    paths = settings.AUTHENTICATION_BACKENDS if backend is None else [backend]
    asked = [getattr(load_backend(path), "user_can_authenticate", None) for path in paths]
    tests = [test for test in asked if test is not None]
    if not tests:
        return bool(getattr(user, "is_active", True))
    return any(test(user) for test in tests)


def _has_auth_hash(user: Any, auth_hash: str) -> bool:
    """Return whether a session's hash is that of its user, also by an older ``SECRET_KEY``."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    if constant_time_compare(auth_hash, user.get_session_auth_hash()):
        return True
    older = user.get_session_auth_fallback_hash()
    return any(constant_time_compare(auth_hash, one) for one in older)
