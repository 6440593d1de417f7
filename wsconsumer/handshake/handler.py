"""
The opening handshake: Host, Origin, one pass through the project's ``MIDDLEWARE``, and the view.

A websocket is a request first. ``Handshake.__call__`` answers it as Django would answer a GET, with
the same middleware, decorators and signals, but loaded in sync mode and run in one hop to a thread:
a tenth of the cost of Django's own async chain. Read it first.
"""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.sessions.backends.base import SessionBase
from django.core import signals
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.core.handlers.asgi import get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response, response_for_exception
from django.http import Http404, HttpRequest, HttpResponseBadRequest, HttpResponseNotFound
from django.urls import (
    Resolver404,
    ResolverMatch,
    URLResolver,
    get_resolver,
    set_script_prefix,
    set_urlconf,
)
from django.urls import (
    get_script_prefix as current_script_prefix,
)
from django.urls.resolvers import RegexPattern
from django.utils.functional import LazyObject, cached_property

from .. import conf
from ..cancellation import consists_of
from ..clients import entry_of, is_counted
from ..counters import counters
from ..escaping import escape, message_of
from ..log_thread import log
from ..refusals import STATUS, find_verdict, log_refused
from ..serving import is_draining
from ..sessions import make_snapshot
from ..threads import are_handshakes_full, in_handshake_thread
from ..verdicts import is_bad_request, log_bad_request
from . import advice, origin
from .redirects import explain_redirect
from .request import WebsocketRequest
from .response import UpgradeResponse
from .views import ConsumerView, websocket_application

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from django.http.response import HttpResponseBase

    from ..protocol import Header, Scope
    from .response import UpgradedApplication

logger = logging.getLogger("wsconsumer.handshake")


class Upgrade(NamedTuple):
    """
    The request becomes a websocket.

    ``accept_headers`` go out with the 101 response; ``request`` says whose sync code will run.
    """

    application: UpgradedApplication
    accept_headers: Sequence[Header]
    request: HttpRequest


class Denial(NamedTuple):
    """
    The request gets an HTTP response, and no websocket.

    ``is_answer``: it is the project's own, to a request from where requests may come from. Its
    status becomes the close code of a client that speaks our subprotocol; else there is ``code``.
    ``outcome``: one of ``metrics.OUTCOMES``.
    """

    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""
    is_answer: bool = False
    code: int | None = None
    outcome: str = "denied"


class Handshake(BaseHandler):
    """
    The project's middleware around the URL resolver, for websockets.

    ``urlconf``: a dotted path or module, a list of patterns, or ``None`` for the settings.
    """

    def __init__(self, urlconf: str | ModuleType | Sequence[Any] | None = None) -> None:
        super().__init__()
        self._urlconf = urlconf
        self.load_middleware(is_async=False)

    async def __call__(self, request: WebsocketRequest) -> Upgrade | Denial:
        """Answer a request for a websocket."""
        denial = (
            check_drain(request)
            or check_host(request)
            or check_origin(request)
            or check_load(request)
        )
        if denial is not None:
            return denial
        prefix = get_script_prefix(request.scope).rstrip("/") + "/"
        if prefix != current_script_prefix():
            # Setting it copies what the context holds, for as long as the websocket is open.
            set_script_prefix(prefix)
        outcome = await in_handshake_thread(self._answer)(request)
        if isinstance(outcome, Upgrade) and (denial := check_drain(request)) is not None:
            return denial
        if hasattr(request, "urlconf"):
            # The end of the request has reset it, but reverse() in the consumer needs it.
            set_urlconf(request.urlconf)
        return outcome

    def _answer(self, request: WebsocketRequest) -> Upgrade | Denial:
        try:
            return self._judge(request)
        except BaseException as error:  # noqa: BLE001  # it would leave the application
            # SystemExit would end daphne, with everybody's sockets, and CancelledError is nobody's
            # cancellation here: they are errors like any other of the project's code.
            return _denial(response_for_exception(request, error))  # type: ignore[arg-type]  # as above

    def _judge(self, request: WebsocketRequest) -> Upgrade | Denial:
        signals.request_started.send(sender=type(self), scope=request.scope)
        response = self.get_response(request)
        try:
            if isinstance(response, UpgradeResponse):
                verdict = find_verdict(request)
                if verdict is not None:
                    log_refused(request, verdict)
                    return Denial(STATUS, code=verdict.code, outcome="ended")
                _protect_session(request, response.application)
                return Upgrade(response.application, _cookies(response), request)
            redirect = explain_redirect(request, response)
            if redirect is not None:
                _log_refusal(request, response.status_code, redirect)
            return _denial(response)
        finally:
            response.close()

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response: HttpResponseBase = super()._get_response(request)  # type: ignore[misc]  # not in the stubs
        except Resolver404:
            # Unlike for Http404, there is no technical page to render and no handler404 to run.
            return HttpResponseNotFound()
        if isinstance(response, UpgradeResponse):
            # In here, so that a database that is away is an error like any other of the view.
            _load_user(request)
            _count_client(response.application)
        return response

    def adapt_method_mode(
        self,
        is_async: bool,
        method: Any,
        method_is_async: bool | None = None,
        *more: Any,
        **kw: Any,
    ) -> Any:
        """Adapt as Django does; on the way, render no pages for bad requests."""
        # Only for the links of the chain does load_middleware() say whether they are async.
        if method_is_async is not None:
            method = without_pages(method, method_is_async)
        return super().adapt_method_mode(is_async, method, method_is_async, *more, **kw)

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view as Django does; a view that serves no websockets counts as not found."""
        match = self._get_resolver(request).resolve(request.path_info)
        if websocket_application(match.func) is None:
            raise Resolver404({"path": request.path_info})
        request.resolver_match = match
        return match

    def serves(self, scope: Scope) -> bool:
        """Return whether there are websockets at a path, as far as no middleware decides that."""
        request = WebsocketRequest({"path": scope["path"], "root_path": scope.get("root_path")})
        try:
            self.resolve_request(request)
        except Resolver404:
            return False
        return True

    def _get_resolver(self, request: HttpRequest) -> URLResolver:
        urlconf = getattr(request, "urlconf", None)
        if urlconf is not None:
            set_urlconf(urlconf)
            return get_resolver(urlconf)
        return self._own_resolver or get_resolver(conf.get("URLCONF"))

    @cached_property
    def _own_resolver(self) -> URLResolver | None:
        if self._urlconf is None:
            return None
        return URLResolver(RegexPattern(r"^/"), self._urlconf)


def without_pages(link: Any, is_async: bool) -> Any:
    """
    Return a link of the middleware chain, which answers bad requests before Django does.

    Django's conversion of exceptions, which is around each link, runs ``handler400`` or, with
    ``DEBUG``, renders a technical page. Nobody could look at either.
    """
    get_response = link.__wrapped__

    @wraps(get_response)
    def answer(request: HttpRequest) -> Any:
        try:
            return get_response(request)
        except Exception as error:
            if (response := _answer_to(request, error)) is None:
                raise
            return response

    @wraps(get_response)
    async def answer_async(request: HttpRequest) -> Any:
        try:
            return await get_response(request)
        except Exception as error:
            if (response := _answer_to(request, error)) is None:
                raise
            return response

    return convert_exception_to_response(answer_async if is_async else answer)


def _answer_to(request: HttpRequest, error: Exception) -> HttpResponseBase | None:
    """Answer bad requests, which get a page from Django, and groups, which it does not know."""
    if is_bad_request(error):
        return _bad_request(request, error)
    if isinstance(error, ExceptionGroup):
        for kind in (PermissionDenied, Http404):
            if consists_of(error, kind):
                return response_for_exception(request, kind(message_of(error)))
    return None


def _bad_request(request: HttpRequest, error: Exception) -> HttpResponseBase:
    """Log a bad request, and return the empty response to it."""
    log_bad_request(request, error)
    response = HttpResponseBadRequest()
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # as Django does
    return response


def _protect_session(request: HttpRequest, application: object) -> None:
    """Let a consumer read the session of the handshake; other applications may do as they like."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionBase) and isinstance(application, ConsumerView):
        make_snapshot(session, session.session_key)


def _load_user(request: HttpRequest) -> None:
    """Load a lazy user in this thread, since async code may not: it asks the database."""
    user = getattr(request, "user", None)
    if isinstance(user, LazyObject):
        bool(user)


def _count_client(application: object) -> None:
    """Look up in this thread what the connection counts for, where connections are limited."""
    if isinstance(application, ConsumerView) and is_counted(application):
        application._wsconsumer.count_as(entry_of(application))  # type: ignore[attr-defined]  # noqa: SLF001  # the slot is ours


def _cookies(response: HttpResponseBase) -> tuple[Header, ...]:
    return tuple(
        (b"set-cookie", cookie.OutputString().encode("ascii"))
        for cookie in response.cookies.values()
    )


def _denial(response: HttpResponseBase) -> Denial:
    if response.status_code < 200:
        log(
            logger,
            logging.ERROR,
            "Middleware answered a websocket with %d, which ends no request; the client gets 500.",
            response.status_code,
        )
        return Denial(500)
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()
    ]
    # The page of an uncaught exception may contain its text, and nobody looks at it here.
    body = b"" if response.status_code == 500 else b"".join(response)
    lines = [*headers, *_cookies(response)]
    return Denial(response.status_code, lines, body, is_answer=True)


def check_drain(request: WebsocketRequest) -> Denial | None:
    """Refuse everybody once the server is going to stop: another process will take them."""
    if not is_draining():
        return None
    counters["drain_refused"] += 1
    log(
        logger,
        logging.INFO,
        "Refused a websocket on %s with 503: the server is going to stop.",
        escape(request.path),
        extra={"request": request, "status_code": 503, "path": escape(request.path)},
        from_stranger=True,
    )
    return Denial(503, outcome="draining")


def check_host(request: WebsocketRequest) -> Denial | None:
    """Refuse a request whose host is not in ``ALLOWED_HOSTS``, as Django refuses a page."""
    try:
        request.get_host()
    except DisallowedHost as error:
        counters["host_refused"] += 1
        return _refuse(request, 400, advice.explain_host(request, error), "host")
    return None


def check_origin(request: WebsocketRequest) -> Denial | None:
    """Refuse a page of another site that no setting trusts."""
    problem = origin.find_problem(request)
    if problem is None:
        return None
    counters["origin_refused"] += 1
    return _refuse(request, 403, problem, "origin")


def check_load(request: WebsocketRequest) -> Denial | None:
    """Refuse a handshake that would wait behind too many others."""
    if not are_handshakes_full():
        return None
    counters["handshake_refused"] += 1
    reason = "too many handshakes are waiting for WSCONSUMER['HANDSHAKE_THREADS']"
    return _refuse(request, 503, reason, "overloaded")


def _refuse(request: WebsocketRequest, status: int, reason: str, outcome: str) -> Denial:
    _log_refusal(request, status, reason)
    return Denial(status, outcome=outcome)


def _log_refusal(request: WebsocketRequest, status: int, reason: str) -> None:
    log(
        logger,
        logging.WARNING,
        "Refused a websocket on %s with %d: %s.",
        escape(request.path),
        status,
        reason.rstrip("."),
        extra={"request": request, "status_code": status, "path": escape(request.path)},
        from_stranger=True,
    )
