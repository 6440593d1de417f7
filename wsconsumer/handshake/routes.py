"""Every pattern of a URLconf with its full path, for the system checks and for people."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from .. import conf
from ..escaping import quote
from ..importing import explain_import
from .access import before_dispatch
from .views import ConsumerView, websocket_application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Route(NamedTuple):
    """
    One URL pattern: its path from the root, its name with namespaces, and its view.

    ``parts`` are the patterns of which the path consists, those of ``include()`` first.
    """

    path: str
    name: str
    view: Callable[..., Any]
    parts: tuple[Any, ...]

    @property
    def application(self) -> object | None:
        """The consumer class or ASGI application that is served here; ``None`` for a page."""
        return websocket_application(self.view)

    @property
    def hidden_application(self) -> object | None:
        """What would be served here if a decorator did not hide that the view serves websockets."""
        return None if self.application is not None else _find_hidden(self.view, 4, set())

    @property
    def decorators(self) -> list[str]:
        """What wraps the view or stands before its ``dispatch()``, outermost first."""
        names = []
        view = self.view
        while hasattr(view, "__wrapped__"):
            names.append(_decorator(view))
            view = view.__wrapped__
        consumer = self.application
        if inspect.isclass(consumer) and issubclass(consumer, ConsumerView):
            names += _before_dispatch(consumer)
        return names


def websocket_routes() -> Iterator[Route]:
    """Yield the patterns that serve websockets."""
    return (route for route in _all_routes(conf.get("URLCONF")) if route.application is not None)


def read_routes() -> tuple[list[Route], str | None]:
    """Return every pattern, or none and what is wrong with the URLconf. It never raises."""
    urlconf = conf.peek("URLCONF")
    try:
        return list(_all_routes(urlconf)), None
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the project's code raises
        name = urlconf or getattr(settings, "ROOT_URLCONF", None)
        return [], f"The URLconf {quote(name)} can't be loaded: {explain_import(error)}."


def pattern_before(route: Route) -> str | None:
    """
    Return the pattern that takes the path of a route before it, if there is one.

    Only a path without converters and regular expressions is tried: others stand for many.
    """
    if not all(isinstance(part, RoutePattern) and not part.converters for part in route.parts):
        return None
    try:
        match = get_resolver(conf.get("URLCONF")).resolve(route.path)
    except Exception:  # noqa: BLE001  # a converter, or a resolver, may be the project's
        return None
    return None if match.func is route.view else match.route


def _all_routes(urlconf: str | None) -> Iterator[Route]:
    """Yield every pattern of a URLconf, ``None`` for ``ROOT_URLCONF``."""
    yield from _routes(get_resolver(urlconf), "/", (), ())


def _routes(
    resolver: URLResolver, prefix: str, namespaces: tuple[str, ...], outer: tuple[Any, ...]
) -> Iterator[Route]:
    for pattern in resolver.url_patterns:
        parts = (*outer, pattern.pattern)
        path = prefix + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLPattern):
            name = ":".join((*namespaces, pattern.name)) if pattern.name else ""
            yield Route(path, name, pattern.callback, parts)
        else:
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from _routes(pattern, path, inner, parts)


def _before_dispatch(consumer: type[ConsumerView]) -> Iterator[str]:
    """Name mixins by their class, ``method_decorator`` by what it applies."""
    inherited = [vars(base).get("dispatch") for base in consumer.__mro__]
    for base in before_dispatch(consumer, ConsumerView):
        dispatch = vars(base)["dispatch"]
        while hasattr(dispatch, "__wrapped__"):
            yield from _method_decorators(dispatch)
            dispatch = dispatch.__wrapped__
            if dispatch in inherited:
                break
        else:
            is_mixin = not issubclass(base, ConsumerView)
            yield base.__name__ if is_mixin else f"{base.__name__}.dispatch"


def _method_decorators(wrapper: Callable[..., Any]) -> Iterator[str]:
    if _decorator(wrapper) != "_multi_decorate":
        yield _decorator(wrapper)
        return
    # Innermost first. They name themselves when they decorate something, as Django has them do too.
    for decorator in reversed(inspect.getclosurevars(wrapper).nonlocals["decorators"]):

        def view() -> None:
            """Stand for a view."""

        wrapped = decorator(view)
        if wrapped is not view:
            yield _decorator(wrapped)
        else:
            yield getattr(decorator, "__name__", type(decorator).__name__)


def _decorator(wrapper: Callable[..., Any]) -> str:
    """Name a decorator as it is written, else by the function that defined its wrapper."""
    if not inspect.isfunction(wrapper):
        return type(wrapper).__name__
    name = wrapper.__code__.co_qualname.partition(".")[0]
    inside = inspect.getclosurevars(wrapper).nonlocals
    if name == "user_passes_test":
        test = getattr(inside.get("test_func"), "__qualname__", "").partition(".")[0]
        return test if test in _USER_PASSES_TEST else name
    if name == "require_http_methods" and "request_method_list" in inside:
        return f"{name}({inside['request_method_list']!r})"
    if name == "make_middleware_decorator" and "_pre_process_request" in inside:
        before = inspect.getclosurevars(inside["_pre_process_request"]).nonlocals
        middleware = type(before["middleware"]).__name__
        return _OF_MIDDLEWARE.get(middleware, middleware)
    return name


_USER_PASSES_TEST = {"login_required", "permission_required", "staff_member_required"}
"""Decorators of Django's that are ``user_passes_test`` with a test of their own."""

_OF_MIDDLEWARE = {
    "CacheMiddleware": "cache_page",
    "ConditionalGetMiddleware": "conditional_page",
    "CsrfViewMiddleware": "csrf_protect",
    "GZipMiddleware": "gzip_page",
    "_EnsureCsrfCookie": "ensure_csrf_cookie",
    "_EnsureCsrfToken": "requires_csrf_token",
}
"""Decorators that ``decorator_from_middleware`` made, which leave only their middleware to see."""


def _find_hidden(value: Any, depth: int, seen: set[int]) -> object | None:
    """Look for a view of ours inside of another callable, so many levels deep."""
    found = websocket_application(value)
    if found is not None or not depth or id(value) in seen:
        return found
    seen.add(id(value))
    inner = (_find_hidden(each, depth - 1, seen) for each in _inside(value) if callable(each))
    return next((application for application in inner if application is not None), None)


def _inside(value: Any) -> Iterator[Any]:
    """Yield what a callable may call: what it encloses, wraps or has as an attribute."""
    if inspect.isclass(value):
        yield from vars(value).values()
        return
    yield from getattr(value, "__dict__", {}).values()
    for cell in getattr(value, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            # A method's class is in one; a class on the way down is that of a view.
            if not inspect.isclass(cell.cell_contents):
                yield cell.cell_contents
    yield getattr(value, "func", None)
