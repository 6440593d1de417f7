"""
The opening handshake: Host, Origin, one pass through the project's ``MIDDLEWARE``, and the view.

A websocket is a request first. ``Handshake.__call__`` answers it as Django would answer a GET, with
the same middleware, decorators and signals, but loaded in sync mode and run in one hop to a thread:
a tenth of the cost of Django's own async chain. Read it first, then ``check_origin``.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import get_script_prefix
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponseNotFound
from django.urls import (
    Resolver404,
    ResolverMatch,
    URLResolver,
    get_resolver,
    set_script_prefix,
    set_urlconf,
)
from django.urls.resolvers import RegexPattern
from django.utils.functional import LazyObject, cached_property
from django.utils.http import is_same_domain

from .. import conf
from ..counters import counters
from .response import UpgradeResponse
from .views import websocket_application

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from django.http.response import HttpResponseBase

    from ..protocol import Application, Header
    from .request import WebsocketRequest

logger = logging.getLogger("wsconsumer.handshake")


class Answer(NamedTuple):
    """What the handshake came to: an application to serve the websocket, or a denial response."""

    application: Application | None
    status: int
    headers: Sequence[Header]
    body: bytes


class Handshake(BaseHandler):
    """
    The project's middleware around the URL resolver, for websockets.

    ``urlconf``: a dotted path or module, a list of patterns, or ``None`` for the settings.
    """

    def __init__(self, urlconf: str | ModuleType | Sequence[Any] | None = None) -> None:
        super().__init__()
        self._urlconf = urlconf
        self.load_middleware(is_async=False)
        self._answer_in_lane = sync_to_async(self._answer)

    async def __call__(self, request: WebsocketRequest) -> Answer:
        """Answer a request for a websocket."""
        refusal = check_host(request) or check_origin(request)
        if refusal is not None:
            return refusal
        set_script_prefix(get_script_prefix(request.scope))
        answer = await self._answer_in_lane(request)
        if hasattr(request, "urlconf"):
            # The end of the request has reset it, but reverse() in the consumer wants it.
            set_urlconf(request.urlconf)
        return answer

    def _answer(self, request: WebsocketRequest) -> Answer:
        signals.request_started.send(sender=type(self), scope=request.scope)
        response = self.get_response(request)
        try:
            if isinstance(response, UpgradeResponse):
                _load_user(request)
                return Answer(response.application, 101, _cookies(response), b"")
            return _denial(response)
        finally:
            response.close()

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response: HttpResponseBase = super()._get_response(request)  # type: ignore[misc]  # not in the stubs
            return response
        except Resolver404:
            # Not Http404's way: no technical page to render, and no handler404 to run.
            return HttpResponseNotFound()

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view as Django does; one that is no consumer's is as good as none."""
        match = self._get_resolver(request).resolve(request.path_info)
        if websocket_application(match.func) is None:
            raise Resolver404({"path": request.path_info})
        request.resolver_match = match
        return match

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


def _load_user(request: WebsocketRequest) -> None:
    """Load a lazy user while the database is at hand: ``consumer.user`` is read in async code."""
    user = getattr(request, "user", None)
    if isinstance(user, LazyObject):
        bool(user)


def _cookies(response: HttpResponseBase) -> list[Header]:
    return [
        (b"set-cookie", cookie.OutputString().encode("ascii"))
        for cookie in response.cookies.values()
    ]


def _denial(response: HttpResponseBase) -> Answer:
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()
    ]
    # The page of a server error may tell the exception's text, and nobody looks at it here.
    body = b"" if response.status_code >= 500 else b"".join(response)
    headers = [header for header in headers if header[0] != b"content-length"]
    headers += [(b"content-length", b"%d" % len(body)), *_cookies(response)]
    return Answer(None, response.status_code, headers, body)


def check_host(request: WebsocketRequest) -> Answer | None:
    """Refuse a request whose host is not in ``ALLOWED_HOSTS``, like Django refuses a page."""
    try:
        request.get_host()
    except DisallowedHost as error:
        counters["host_refused"] += 1
        return _refuse(request, 400, str(error))
    return None


_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Origin(NamedTuple):
    """A web origin (RFC 6454): scheme, host and port, the default port spelt out."""

    scheme: str
    host: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Return the origin that ``text`` names, in any case; ``None`` if it names none."""
        match = _ORIGIN.fullmatch(text.lower())
        if match is None:
            return None
        scheme, host, port = match["scheme"], match["host"], match["port"]
        return cls(scheme, host, port or _DEFAULT_PORTS.get(scheme, ""))

    def matches(self, pattern: str) -> bool:
        """
        Tell whether an entry of a setting covers this origin.

        ``https://*.example.com`` covers whole labels, as in ``CSRF_TRUSTED_ORIGINS``: the domain
        and all below it, never ``evil-example.com``.
        """
        scheme, _, rest = pattern.lower().partition("://")
        wanted = Origin.parse(f"{scheme}://{rest.removeprefix('*.')}")
        if wanted is None or (wanted.scheme, wanted.port) != (self.scheme, self.port):
            return False
        pattern = f".{wanted.host}" if rest.startswith("*.") else wanted.host
        return bool(is_same_domain(self.host, pattern))


def check_origin(request: WebsocketRequest) -> Answer | None:
    """
    Refuse a page of another site: browsers let any page open a websocket, with our cookies.

    Allowed: no ``Origin`` at all (not a browser), the request's own host and port, and what
    ``CSRF_TRUSTED_ORIGINS`` and ``WSCONSUMER["ALLOWED_ORIGINS"]`` name. See RFC 6455 section 10.2.
    """
    values = [value for name, value in request.scope.get("headers", ()) if name == b"origin"]
    if not values:
        return None
    reason = _origin_problem(request, values)
    if reason is None:
        return None
    counters["origin_refused"] += 1
    return _refuse(request, 403, reason)


def _origin_problem(request: WebsocketRequest, values: list[bytes]) -> str | None:
    if len(values) > 1:
        return f"expected one Origin, got {values!r}"
    origin = Origin.parse(values[0].decode("latin-1"))
    if origin is None:
        return f"the Origin {values[0]!r} is not scheme://host:port"
    if _is_own(request, origin) or _is_trusted(origin):
        return None
    return (
        f"the Origin {values[0].decode()!r} is neither this host, {request.get_host()!r}, nor in "
        'CSRF_TRUSTED_ORIGINS or WSCONSUMER["ALLOWED_ORIGINS"]'
    )


def _is_own(request: WebsocketRequest, origin: Origin) -> bool:
    """
    Compare with the host that the client asked for.

    A request known to be secure wants a secure page. One that looks insecure may come through a
    proxy that ends TLS, so there the page's own scheme says what the default port is.
    """
    if origin.scheme not in _DEFAULT_PORTS or (request.is_secure() and origin.scheme != "https"):
        return False
    return Origin.parse(f"{origin.scheme}://{request.get_host()}") == origin


def _is_trusted(origin: Origin) -> bool:
    patterns: Iterable[str] = (*settings.CSRF_TRUSTED_ORIGINS, *conf.get("ALLOWED_ORIGINS"))
    return any(pattern == "*" or origin.matches(pattern) for pattern in patterns)


def _refuse(request: WebsocketRequest, status: int, reason: str) -> Answer:
    logger.warning(
        "Refused a websocket on %s with %d: %s.",
        request.path,
        status,
        reason.rstrip("."),
        extra={"request": request, "status_code": status},
    )
    return Answer(None, status, (), b"")
