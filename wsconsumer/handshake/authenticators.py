"""
The authenticators of other packages, asked for the user of a handshake.

Those of Django REST framework have ``authenticate(request)``, those of django-ninja are called, and
allauth brings both kinds. None of these packages is imported here: a class is known by the names of
its bases. ``Asking`` is one handshake: read it first.
"""

from __future__ import annotations

import inspect
import math
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from django.contrib.auth import aget_user, get_user
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpResponse, JsonResponse

from ..escaping import quote
from ..log_fields import loaded
from .expiry import expiry_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from django.http import HttpRequest

ANSWERS: Final = frozenset({"ninja.errors.HttpError", "rest_framework.exceptions.APIException"})
"""
Exceptions that are an answer to the client, with its ``status_code``: what these packages and those
that build on them raise. A status alone would not do: clients of other services have exceptions
with the status that *they* got, and such an error is ours.
"""


class Found(NamedTuple):
    """
    Who asks for a websocket, and until when (in seconds since 1970) that is known.

    ``is_of_session``: it is the user of the session's cookie, whom the authenticator found there.
    """

    user: Any
    auth: Any
    expires: float | None
    is_of_session: bool = False


class Refused(NamedTuple):
    """Nobody, or nobody who may come in: the answer, and the reason for the log."""

    response: HttpResponse
    reason: str


def check_authenticator(given: object) -> None:
    """Raise ``TypeError`` for what can't be asked."""
    kind = given if inspect.isclass(given) else type(given)
    if inspect.isabstract(kind):
        raise TypeError(
            f"authenticate_with() can't make an instance of {kind.__name__}, which is abstract. "
            "Write a subclass with its missing methods."
        )
    is_callable = any("__call__" in vars(base) for base in kind.__mro__)
    if not (is_callable or hasattr(given, "authenticate")):
        raise TypeError(
            "authenticate_with() expects authenticators: callables that take the request, as in "
            "django-ninja, or classes and instances with an authenticate(request), as in Django "
            f"REST framework. Got {quote(given)}."
        )


class Asking:
    """Asks the authenticators of a view for the user of one request, in the handshake's thread."""

    def __init__(self, request: HttpRequest, authenticators: Sequence[Any]) -> None:
        self._request: Any = request
        self._drf_request: Any = None
        self._authenticators = [
            given() if inspect.isclass(given) else given for given in authenticators
        ]

    def ask(self) -> Found | Refused | None:
        """
        Return what the first authenticator with an answer says; ``None`` if none has one.

        Raises ``TypeError`` for an answer that names no user.
        """
        before = [getattr(self._request, name, None) for name in ("user", "auth")]
        for authenticator in self._authenticators:
            self._request.auth = None
            outcome = self._ask(authenticator, before[0])
            if isinstance(outcome, Found):
                return outcome
            # It may have set both although it found nobody.
            self._request.user, self._request.auth = before
            if outcome is not None:
                return outcome
        return None

    def refuse(self, reason: str | None = None, status: int = 401, detail: Any = None) -> Refused:
        """
        Return a denial.

        A 401 has to name a scheme (RFC 9110 section 11.6.1): that of the first authenticator which
        has one. Where none has, it is a 403, as in Django REST framework.
        """
        challenge = self._challenge() if status == 401 else None
        if status == 401 and challenge is None:
            status = 403
        if detail is None:
            response = HttpResponse(status=status)
        else:
            content = detail if isinstance(detail, dict | list) else {"detail": detail}
            response = JsonResponse(content, status=status, safe=False)
        if challenge is not None:
            response.headers["WWW-Authenticate"] = challenge
        names = ", ".join(map(_name, self._authenticators))
        return Refused(response, reason or f"no user was found by {names}")

    def _ask(self, authenticator: object, before: Any) -> Found | Refused | None:
        try:
            answer = _call(authenticator, self._request_for(authenticator))
        except Exception as error:
            if (refused := self._refuse_with(authenticator, error)) is None:
                raise
            return refused
        return self._read(authenticator, answer, before)

    def _read(self, authenticator: object, answer: Any, before: Any) -> Found | Refused | None:
        if not (_is_user(answer) or answer):
            return None
        user, auth = answer if _is_pair(answer) else (answer, None)
        if not _is_user(user) and user is not None:
            user, auth = self._request.user if self._request.user is not before else None, answer
            if not _is_user(user):
                raise TypeError(
                    f"authenticate_with() expects a user, (user, auth) or None of "
                    f"{_name(authenticator)}, got {type(answer).__name__}. Return a user as well, "
                    "or set request.user to one, and the rest is request.auth."
                )
        if not _is_authenticated(user):
            return None
        if auth is None:
            auth = self._request.auth
        expires = expiry_of(auth)
        if expires is not None and expires <= time.time():
            return self.refuse(f"{_name(authenticator)} let in a token that has expired")
        is_of_session = authenticator in (aget_user, get_user) or loaded(user) is loaded(before)
        return Found(user, auth, expires, is_of_session)

    def _refuse_with(self, authenticator: object, error: Exception) -> Refused | None:
        status = _status_of(error)
        if status is None:
            return None
        reason = f"{_name(authenticator)} raised {type(error).__name__}"
        refused = self.refuse(reason, status, getattr(error, "detail", None) or str(error))
        wait = getattr(error, "wait", None)
        if wait is not None:
            refused.response.headers["Retry-After"] = str(math.ceil(wait))
        return refused

    def _challenge(self) -> str | None:
        for authenticator in self._authenticators:
            header = getattr(authenticator, "authenticate_header", None)
            challenge = header and header(self._request_for(authenticator))
            if challenge:
                return str(challenge)
        return None

    def _request_for(self, authenticator: object) -> Any:
        """Return the request as an authenticator expects it; those of DRF share one of theirs."""
        if callable(authenticator) or not _has_base(authenticator, "rest_framework"):
            return self._request
        if self._drf_request is None:
            self._drf_request = import_module("rest_framework.request").Request(self._request)
            # It is in there for parsers, of which a GET has none, and would hold the request.
            del self._drf_request.parser_context["request"]
        return self._drf_request


def _call(authenticator: Any, request: Any) -> Any:
    """Ask one authenticator; where it is async, its sync code still runs in this thread."""
    ask = authenticator if callable(authenticator) else authenticator.authenticate
    answer = ask(request)
    # By its type: isinstance() would load a lazy user, who may be gone.
    return async_to_sync(_wait)(answer) if hasattr(type(answer), "__await__") else answer


async def _wait(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _is_pair(answer: Any) -> bool:
    if not issubclass(type(answer), tuple) or len(answer) != 2:
        return False
    return answer[0] is None or _is_user(answer[0])


def _is_user(value: object) -> bool:
    """Return whether a value is a user, be it an anonymous one."""
    try:
        return isinstance(getattr(value, "is_authenticated", None), bool)
    except ObjectDoesNotExist:
        return True  # a lazy one, who is no longer there


def _is_authenticated(user: Any) -> bool:
    try:
        return user is not None and user.is_authenticated
    except ObjectDoesNotExist:
        return False


def _status_of(error: Exception) -> int | None:
    """Return the status that an exception answers the client with, if it is one for that."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__)
    status = None if ANSWERS.isdisjoint(names) else error.status_code  # type: ignore[attr-defined]  # they have one
    return status if status in range(400, 600) else None


def _has_base(value: object, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in type(value).__mro__)


def _name(authenticator: Any) -> str:
    """Return the name of a function, or of an instance's class."""
    name: str = getattr(authenticator, "__name__", type(authenticator).__name__)
    return name
