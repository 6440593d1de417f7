"""Websockets at URLs of their own, and what they answer to a handshake."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import (
    login_not_required,
    login_required,
    permission_required,
    user_passes_test,
)
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path, reverse
from django.utils.translation import get_language

from wsconsumer import WebsocketConsumer
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from django.contrib.auth.models import User

    from wsconsumer.test import Denial, Websocket


class Tell(WebsocketConsumer):
    """Says after accept() what ``fact`` makes of the consumer."""

    fact: Any = staticmethod(lambda consumer: str(consumer.user))

    async def connect(self) -> None:
        await self.accept()
        await self.send(str(self.fact(self)))


def raising(error: Exception) -> Callable[..., Any]:
    """Decorate a view so that it raises."""

    def decorator(view: Any) -> Any:
        def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
            raise error

        wrapper.__dict__.update(view.__dict__)
        return wrapper

    return decorator


def teapot(view: Any) -> Any:
    """Decorate a view so that it answers with a response of its own."""

    def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
        response = HttpResponse("short and stout", status=418, headers={"X-Pot": "tea"})
        response.set_cookie("milk", "no")
        return response

    wrapper.__dict__.update(view.__dict__)
    return wrapper


def streaming(view: Any) -> Any:
    """Decorate a view so that it answers with a stream."""

    def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
        return StreamingHttpResponse(iter(["a", "b"]), status=403)

    wrapper.__dict__.update(view.__dict__)
    return wrapper


ws = Tell.as_view()
urlpatterns = [
    path("ws/", ws, name="ws"),
    path("ws/login/", login_required(ws)),
    path("ws/open/", login_not_required(Tell.as_view())),
    path("ws/permission/", permission_required("auth.view_user", raise_exception=True)(ws)),
    path("ws/passes/", user_passes_test(lambda user: user.is_staff, login_url="/nope/")(ws)),
    path("ws/raises/", raising(RuntimeError("the secret"))(ws)),
    path("ws/denied/", raising(PermissionDenied("no"))(ws)),
    path("ws/teapot/", teapot(ws)),
    path("ws/stream/", streaming(ws)),
    path("ws/language/", Tell.as_view(fact=staticmethod(lambda _: get_language()))),
    path("ws/reverse/", Tell.as_view(fact=staticmethod(lambda _: reverse("ws")))),
    path("ws/thread/", Tell.as_view(fact=staticmethod(lambda _: threading.current_thread().name))),
    path("ws/seen/", Tell.as_view(fact=staticmethod(lambda consumer: consumer.request.seen))),
]


def opened(
    address: str, lines: list[tuple[bytes, bytes]]
) -> AbstractAsyncContextManager[Websocket]:
    """Open a websocket to the dispatcher; what fails there is left to it, as in production."""
    texts = [(name.decode(), value.decode("latin-1")) for name, value in lines]
    return connect(WebsocketDispatcher(), address, headers=texts, raise_exceptions=False)


async def heard(address: str = "/ws/", headers: Iterable[tuple[bytes, bytes]] = ()) -> str | bytes:
    """Open a websocket that is accepted, and return what the consumer says first."""
    async with opened(address, list(headers)) as ws:
        assert ws.accepted, ws.denial
        return await ws.receive()


async def denied(address: str = "/ws/", headers: Iterable[tuple[bytes, bytes]] = ()) -> Denial:
    """Ask for a websocket that is denied, and return the denial response."""
    async with opened(address, list(headers)) as ws:
        assert ws.denial is not None
        return ws.denial


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    """Return headers with a host; underscores are dashes."""
    values = {"host": "example.com", **values}
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()]


def logged_in(user: User) -> list[tuple[bytes, bytes]]:
    """Log a user in, and return the headers that a browser would then send."""
    client = Client()
    client.force_login(user)
    return headers(cookie=f"sessionid={client.cookies['sessionid'].value}")
