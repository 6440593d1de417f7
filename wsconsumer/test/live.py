"""
The real application behind daphne, for browsers and any other client: ``LiveWebsocketTestCase``.

Twisted's reactor runs once in a process, so one daphne runs in a thread from its first use to the
end of the process. Each ``LiveServer`` adds a port to it and takes it away again, with everything
that came through it.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from concurrent.futures import wait
from contextlib import contextmanager
from contextvars import Context
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.db import connections
from django.test import TransactionTestCase, modify_settings
from django.utils.functional import classproperty

from ..asgi import get_asgi_application
from ..groups.hub import close_hub
from ..handshake.running import RunningWebsockets
from ..log_thread import close_connections as close_log_connections
from ..threads import close_threads
from .database import PATIENCE, Assistant
from .engine import with_members
from .links import DatabaseLinks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ..protocol import Application, Receive, Scope, Send


class LiveWebsocketTestCase(TransactionTestCase):
    """
    Django's ``LiveServerTestCase`` with websockets: daphne serves the project while tests run.

    Pages are at ``self.live_server_url``, websockets at ``self.websocket_url_for("/ws/echo/")``.
    When a test ends, so does what is left of its websockets. ``host`` is where daphne listens;
    ``port`` 0 is any that is free.
    """

    host = "localhost"
    port = 0
    live_server: LiveServer

    @classproperty
    def live_server_url(cls) -> str:  # noqa: N805  # a property of the class
        return cls.live_server.url

    @classproperty
    def websocket_url(cls) -> str:  # noqa: N805  # a property of the class
        return cls.live_server.websocket_url

    @classmethod
    def websocket_url_for(cls, path: str) -> str:
        """Return the URL of the websocket at a path of the project."""
        return cls.live_server.websocket_url_for(path)

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.live_server = cls.enterClassContext(serve(cls.host, cls.port))

    def _fixture_teardown(self) -> None:
        self.live_server.end_connections()
        super()._fixture_teardown()  # type: ignore[misc]  # not in the stubs


@contextmanager
def serve(host: str = "localhost", port: int = 0) -> Iterator[LiveServer]:
    """Serve the project, as the settings are now, with this host among ``ALLOWED_HOSTS``."""
    with with_members(), modify_settings(ALLOWED_HOSTS={"append": host}):
        server = LiveServer(host, port)
        try:
            yield server
        finally:
            server.stop()


class LiveServer:
    """The project, on a port of its own until ``stop()``."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self._links = DatabaseLinks()
        self._application = Running(self._serve)
        self._project = get_live_application()
        self._port = daphne().listen(host, port, self._application)
        # As with Django's live server, a database in memory is used through the test's connections.
        self._assistant = Assistant.take() if _has_database_in_memory() else None

    @property
    def url(self) -> str:
        """Where pages are, such as ``http://localhost:12345``."""
        return f"http://{self.host}:{self._port.number}"

    @property
    def websocket_url(self) -> str:
        """Where websockets are, such as ``ws://localhost:12345``."""
        return f"ws://{self.host}:{self._port.number}"

    def websocket_url_for(self, path: str) -> str:
        """Return the URL of the websocket at a path of the project."""
        return f"{self.websocket_url}/{path.removeprefix('/')}"

    def end_connections(self) -> None:
        """
        Drop every client, and wait until the application has ended for each of them.

        No database connection stays open, or the database of the tests could not be dropped.
        """
        self._port.end_connections()
        close_threads()
        close_log_connections()
        if self._assistant is not None:
            wait([self._assistant.mark()], timeout=PATIENCE)
        self._links.let_go()

    def stop(self) -> None:
        """Stop listening, and leave nothing behind."""
        self._port.stop_listening()
        self.end_connections()
        _in_reactor(_deferred, close_hub)
        self._links.stop()
        if self._assistant is not None:
            self._assistant.give_back()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._assistant is not None:
            with self._assistant.at_work():
                await self._project(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve_page(scope, receive, send)
        else:
            await self._project(scope, receive, send)

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page, and close the connections that Django would keep for ``CONN_MAX_AGE``."""
        async with ThreadSensitiveContext():  # Django's own would be another thread
            try:
                await self._project(scope, receive, send)
            finally:
                await sync_to_async(connections.close_all)()


def get_live_application() -> Application:
    """Return the project's application, with static files as ``runserver`` serves them."""
    application: Any = get_asgi_application()
    if apps.is_installed("django.contrib.staticfiles"):
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        application = ASGIStaticFilesHandler(application)
    served: Application = application
    return served


def _has_database_in_memory() -> bool:
    return any(
        connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]  # sqlite's
        for connection in connections.all()
    )


@cache
def daphne() -> Daphne:
    """Return this process's daphne, started at its first use."""
    return Daphne()


class Daphne:
    """Daphne in a thread, without a port to begin with."""

    def __init__(self) -> None:
        try:
            from daphne.server import Server
        except ImportError as error:
            raise ImportError(
                'The live server needs daphne. Run: pip install "wsconsumer[daphne]"'
            ) from error
        self._application: Application
        self._server = Server(self._serve, endpoints=["none"], signal_handlers=False)
        self._server.endpoints = []
        thread = threading.Thread(
            target=Context().run, args=(self._server.run,), name="daphne", daemon=True
        )
        thread.start()
        _in_reactor(lambda: None)  # returns once the reactor runs
        # At exit the last comes first.
        atexit.register(thread.join, PATIENCE)
        atexit.register(_reactor().callFromThread, _reactor().stop)

    def listen(self, host: str, port: int, application: Running) -> Port:
        """Serve an application on another port; all ports get the latest application."""
        self._application = application
        return Port(host, port, self._server.http_factory, application)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)


class Running:
    """An application whose requests and websockets can all be ended."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._running = RunningWebsockets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._running.add(task)
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            if not self._running.take_back(task):
                raise
        finally:
            self._running.discard(task)

    async def end(self) -> None:
        """End what runs, within bounds."""
        await self._running.end()


class Port:
    """A port of daphne's, and the connections that came through it."""

    def __init__(self, host: str, port: int, factory: Any, application: Running) -> None:
        from twisted.protocols import policies

        known: Any = policies  # without types
        self._application = application
        self._factory = known.WrappingFactory(factory)  # which knows its connections
        self._listener = _in_reactor(_reactor().listenTCP, port, self._factory, interface=host)
        self.number: int = self._listener.getHost().port

    def stop_listening(self) -> None:
        """Close the port."""
        _in_reactor(self._listener.stopListening)

    def end_connections(self) -> None:
        """Drop the clients, and wait for the application to end; cancel it if it is slow."""
        _in_reactor(_deferred, self._end_connections)

    async def _end_connections(self) -> None:
        for connection in tuple(self._factory.protocols):
            connection.abortConnection()
        await self._application.end()


def _in_reactor(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in the reactor's thread, and wait for what it returns or defers."""
    from twisted.internet.threads import blockingCallFromThread

    # In an empty context: that of a test says in which thread its own sync code belongs.
    return Context().run(blockingCallFromThread, _reactor(), function, *args, **kwargs)


def _reactor() -> Any:
    """Return the reactor, which daphne has to install first."""
    from twisted.internet import reactor

    return reactor


def _deferred(function: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromFuture(asyncio.ensure_future(function()))
