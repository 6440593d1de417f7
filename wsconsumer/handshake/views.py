"""
From ``urls.py``, or plain ASGI, to an instance: what Django's ``View`` is to a page.

``as_view()`` and ``as_asgi()`` make an instance for each connection and call ``setup()`` on it; the
instance is an ASGI application for that one connection. A consumer is a view down to
``dispatch()``, which answers with the upgrade: whatever stands before it may answer something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from django.core.exceptions import ImproperlyConfigured

from ..escaping import quote
from ..hints import add_early_hint
from ..hooks import check_initkwargs
from ..per_thread import adapt_handlers, enter_websocket, leave_websocket
from ..protocol import AUTHORIZATION_KEY, answer_subprotocol
from ..servers import adapt
from .access import check_view, refuse_dispatch
from .request import WebsocketRequest
from .response import UpgradeRequired, UpgradeResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from ..protocol import Application, Event, Header, Receive, Scope, Send


C = TypeVar("C", bound="ConsumerView")

View: TypeAlias = "Callable[..., HttpResponseBase]"


def mark(view: View, application: object) -> View:
    """
    Say of a view that it serves websockets; the dispatcher calls no other.

    Decorators that use ``functools.wraps``, as Django's own do, copy the mark.
    """
    view.websocket_application = application  # type: ignore[attr-defined]  # a mark of ours
    return view


def websocket_application(view: object) -> object | None:
    """Return the consumer class or ASGI application behind a marked view, else ``None``."""
    return getattr(view, "websocket_application", None)


def asgi_view(application: Application) -> View:
    """
    Return a Django view that serves websockets with any ASGI application.

    The application is called behind the same handshake as a consumer. Its scope has ``user``,
    ``session`` and ``cookies`` of the request, and ``url_route`` with the URL's ``args`` and
    ``kwargs``, as Channels names them.
    """

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not isinstance(request, WebsocketRequest):
            return UpgradeRequired(request)
        more = {"cookies": request.COOKIES, "url_route": {"args": args, "kwargs": kwargs}}
        for name in ("user", "session"):
            if hasattr(request, name):
                more[name] = getattr(request, name)

        def mounted(
            scope: Scope, receive: Receive, send: Send, accept_headers: Sequence[Header] = ()
        ) -> Awaitable[None]:
            if accept_headers or AUTHORIZATION_KEY in scope:
                send = _with_answers(send, scope, accept_headers)
            return application({**scope, **more}, receive, send)

        return UpgradeResponse(mounted)

    # Metrics and traces name a view by these.
    view.__module__, view.__qualname__ = names_of(application)
    view.__name__ = view.__qualname__.rpartition(".")[2]
    return mark(view, application)


def names_of(application: object) -> tuple[str, str]:
    """Return the module and qualified name of an ASGI application, or of its class."""
    named = application if hasattr(application, "__qualname__") else type(application)
    return named.__module__, named.__qualname__


def _with_answers(send: Send, scope: Scope, headers: Sequence[Header]) -> Send:
    """Add answers of the handshake to the accept of an application that does not know them."""

    async def send_with_answers(event: Event) -> None:
        if event["type"] == "websocket.accept":
            event = {
                **event,
                "headers": [*(event.get("headers") or ()), *headers],
                "subprotocol": answer_subprotocol(
                    event.get("subprotocol"), scope, speaks_own=False
                ),
            }
        await send(event)

    return send_with_answers


class ConsumerView:
    """The part of a consumer class that ``urls.py`` and ASGI see."""

    request: HttpRequest
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_view(cls, ConsumerView)

    def __init__(self, **initkwargs: Any) -> None:
        for name, value in initkwargs.items():
            setattr(self, name, value)

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Keep what the URL pattern found. Override, calling ``super()``, to prepare attributes."""
        self.request = request
        self.args = args
        self.kwargs = kwargs

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """
        Answer the request for a websocket: with the upgrade, as is.

        Runs with the handshake, in its thread, before ``connect()``. What a mixin, a decorator
        (``method_decorator(..., name="dispatch")``) or an override answers instead is the denial.
        """
        return UpgradeResponse(self)

    @classmethod
    def as_view(cls, **initkwargs: Any) -> View:
        """
        Return a Django view for ``urls.py``; it can be decorated like any other.

        ``initkwargs`` set attributes that the class already has; others are a ``TypeError``. For a
        websocket the view returns what ``dispatch()`` answers, which is a 101 response that
        carries the consumer unless something refuses; for plain HTTP 426 Upgrade Required
        (RFC 9110 section 15.5.22).
        """
        check_initkwargs(cls, "as_view", initkwargs)

        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not isinstance(request, WebsocketRequest):
                return UpgradeRequired(request)
            consumer = make_consumer(cls, initkwargs, request, args, kwargs)
            return consumer.dispatch(request, *args, **kwargs)

        # What decorators said of dispatch(), such as login_not_required; its decorators are listed
        # apart.
        view.__dict__.update(cls.dispatch.__dict__)
        view.__dict__.pop("__wrapped__", None)
        view.view_class = cls  # type: ignore[attr-defined]  # as on Django's own views
        view.view_initkwargs = initkwargs  # type: ignore[attr-defined]  # the same
        view.__doc__ = cls.__doc__
        view.__module__ = cls.__module__
        view.__qualname__ = view.__name__ = cls.__name__
        return mark(view, cls)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Callable[[Any, Any, Any], Coroutine[Any, Any, None]]:
        """
        Return a plain ASGI 3 application, for tests and for other ASGI routers.

        There is no handshake: neither Host nor Origin is checked, no ``MIDDLEWARE`` and no
        decorator runs, and sync code runs in asgiref's threads, not in a lane. ``args`` and
        ``kwargs`` come from ``scope["url_route"]``, ``user`` and ``session`` from the scope, if an
        outer application has put them there. A class with a ``dispatch()`` of its own, or of a
        mixin, is refused (``TypeError``): nothing would call it.
        """
        check_initkwargs(cls, "as_asgi", initkwargs)
        refuse_dispatch(cls, ConsumerView)
        adapt_handlers()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                raise ValueError(
                    f"{cls.__name__}.as_asgi() serves websocket connections, got "
                    f"{quote(scope['type'])}. Route it by scope['type'], as wsconsumer.asgi does."
                )
            route = scope.get("url_route") or {}
            request = WebsocketRequest(scope)
            consumer = make_consumer(
                cls, initkwargs, request, route.get("args", ()), route.get("kwargs", {})
            )
            entered = enter_websocket()
            try:
                await consumer(*adapt(scope, receive, send))
            finally:
                leave_websocket(entered)

        application.consumer_class = cls  # type: ignore[attr-defined]  # for the system check
        return application

    def __call__(
        self, scope: Scope, receive: Receive, send: Send, accept_headers: Sequence[Header] = ()
    ) -> Coroutine[Any, Any, None]:
        """Return the coroutine that serves one connection."""
        raise NotImplementedError


def make_consumer(
    cls: type[C],
    initkwargs: dict[str, Any],
    request: HttpRequest,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> C:
    """Return the instance for one connection."""
    try:
        consumer = cls(**initkwargs)
    except AttributeError as error:
        add_early_hint(cls, error)
        raise
    consumer.setup(request, *args, **kwargs)
    if not hasattr(consumer, "request"):
        raise ImproperlyConfigured(
            f"{cls.__name__} has no request. Did you override setup() without calling super()?"
        )
    return consumer
