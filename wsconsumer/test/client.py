"""``WebsocketClient``: to sockets what ``django.test.AsyncClient`` is to views."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from django.http.request import HttpHeaders
from django.test import AsyncClient

from .connecting import connect
from .database import shared_database
from .dispatching import ProjectDispatcher
from .engine import in_memory
from .misuse import check_project_path, opens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from .page import Page
    from .websocket import Websocket


@asynccontextmanager
async def _as_in_connect() -> AsyncIterator[None]:
    with in_memory():
        async with shared_database():
            yield


class WebsocketClient(AsyncClient):
    """
    Opens websockets to the whole project: Origin, ``MIDDLEWARE``, URL patterns, consumer.

    It is an ``AsyncClient`` too: pages and sockets share the cookies, and ``force_login()``,
    ``aforce_login()``, ``login()``, ``alogin()``, ``logout()`` and ``alogout()`` count for both.
    """

    # As in connect(), what a page broadcasts stays here, and the database connections are those of
    # the test: pytest-django's ``db`` opens its transaction in the main thread, and Django's client
    # asks the database in another.

    async def request(self, **request: Any) -> Any:
        """Request a page, with the database of the test."""
        async with _as_in_connect():
            return await super().request(**request)

    async def aforce_login(self, user: Any, backend: str | None = None) -> None:
        """Log a user in, with the database of the test."""
        async with _as_in_connect():
            await super().aforce_login(user, backend)

    async def alogin(self, **credentials: Any) -> bool:
        """Log in with credentials, with the database of the test."""
        async with _as_in_connect():
            return await super().alogin(**credentials)

    async def alogout(self) -> None:
        """Log out, with the database of the test."""
        async with _as_in_connect():
            await super().alogout()

    @opens
    async def connect(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Iterable[str] = (),
        origin: str | None = "",
        secure: bool = False,
        server: str = "asgi",
        allow_unread: bool = False,
        raise_exceptions: bool = True,
        codec: str = "json",
        page: Page | None = None,
    ) -> AsyncIterator[Websocket]:
        """
        Open a websocket at a path of the project, as the project's own pages would.

        ``origin`` is by default that of the project's pages; ``None`` is a client that is no
        browser. The other arguments are those of ``wsconsumer.test.connect``.
        """
        check_project_path(path)
        lines = self._default_headers()
        lines.update({name.lower(): value for name, value in (headers or {}).items()})
        if origin is not None:
            own = f"{'https' if secure else 'http'}://{lines.get('host', 'testserver')}"
            lines.setdefault("origin", origin or own)
        if self.cookies:
            cookies = (f"{morsel.key}={morsel.coded_value}" for morsel in self.cookies.values())
            lines.setdefault("cookie", "; ".join(cookies))
        async with connect(
            ProjectDispatcher(),
            path,
            headers=lines,
            subprotocols=subprotocols,
            secure=secure,
            server=server,
            allow_unread=allow_unread,
            raise_exceptions=raise_exceptions,
            codec=codec,
            page=page,
        ) as websocket:
            denial = websocket.denial
            self.cookies.update(websocket.cookies if denial is None else denial.cookies)
            yield websocket

    def _default_headers(self) -> dict[str, str]:
        """Return the headers that the client was given, which Django keeps by their CGI names."""
        defaults: dict[str, Any] = dict(self.defaults)
        names = ((HttpHeaders.parse_header_name(key), value) for key, value in defaults.items())
        return {name.lower(): value for name, value in names if name is not None}
