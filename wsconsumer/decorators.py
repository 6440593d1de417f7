"""``authenticate_with()``: who may open a websocket, by the schemes that pages of an API use."""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from .consumer import WebsocketConsumer
from .escaping import escape
from .handshake.authenticators import Asking, Found, Refused, check_authenticator
from .handshake.request import WebsocketRequest
from .handshake.views import websocket_application
from .identities import ignore_session
from .log_thread import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

V = TypeVar("V", bound="Callable[..., HttpResponseBase]")

logger = logging.getLogger("wsconsumer.handshake")


def authenticate_with(*authenticators: Any, optional: bool = False) -> Callable[[V], V]:
    """
    Let authenticators find the user; for views, and for ``dispatch()`` by ``method_decorator``.

    They are asked in order, in the handshake's thread, and the first authenticated user is
    ``request.user``. Callables are called with the request, as django-ninja does; anything else has
    an ``authenticate(request)``, as in Django REST framework; a class is made an instance for each
    handshake. Both may be async. The answer is a user, ``(user, auth)`` or nothing; ``auth``, or
    what a callable returned beside setting ``request.user``, is ``request.auth``. If that has an
    ``exp``, a consumer's connection is closed with 4401 then.

    The user of the session counts only if an authenticator, such as
    ``django.contrib.auth.get_user``, finds it there. Without a user the client gets 401, or 403 if
    no authenticator has an ``authenticate_header()``; with ``optional=True`` it is
    ``AnonymousUser``. Unless optional, ``LoginRequiredMiddleware`` leaves the view to this.

    Raises ``TypeError`` for what can't be asked.
    """
    _check(authenticators)

    def decorator(view: V) -> V:
        @wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if websocket_application(view) and not isinstance(request, WebsocketRequest):
                return view(request, *args, **kwargs)  # 426, whoever asks
            asking = Asking(request, authenticators)
            outcome = asking.ask() or _nobody(asking, optional)
            if isinstance(outcome, Refused):
                return _refuse(request, outcome)
            _let_in(request, outcome)
            return _limited(view(request, *args, **kwargs), outcome.expires)

        if not optional:
            wrapper.login_required = False  # type: ignore[attr-defined]  # as login_not_required()
        return wrapper  # type: ignore[return-value]  # called as the view is

    return decorator


def _check(authenticators: tuple[Any, ...]) -> None:
    if not authenticators:
        raise TypeError("authenticate_with() expects at least one authenticator, got none.")
    for given in authenticators:
        if websocket_application(given) is not None:
            raise TypeError(
                "authenticate_with() expects authenticators, got the view itself. Write "
                "authenticate_with(TokenAuthentication)(view), for instance."
            )
        check_authenticator(given)


def _nobody(asking: Asking, optional: bool) -> Found | Refused:
    from django.contrib.auth.models import AnonymousUser  # needs apps, which import consumers

    return Found(AnonymousUser(), None, None) if optional else asking.refuse()


def _let_in(request: Any, found: Found) -> None:
    async def auser() -> Any:
        return found.user

    request.user, request.auth, request.auser = found.user, found.auth, auser
    if not found.is_of_session:
        ignore_session(request)


def _refuse(request: HttpRequest, refused: Refused) -> HttpResponseBase:
    status = refused.response.status_code
    log(
        logger,
        logging.WARNING if status < 500 else logging.ERROR,
        "Refused a websocket on %s with %d: %s.",
        escape(request.path),
        status,
        refused.reason,
        extra={"request": request, "status_code": status, "path": escape(request.path)},
        from_stranger=True,
    )
    refused.response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # as Django does
    return refused.response


def _limited(response: HttpResponseBase, expires: float | None) -> HttpResponseBase:
    """Return the view's response; the connection of a consumer is closed at this time."""
    application = getattr(response, "application", None)
    if expires is not None and isinstance(application, WebsocketConsumer):
        application._wsconsumer.expire_at(expires)  # noqa: SLF001  # the slot is ours
    return response
