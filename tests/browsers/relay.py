"""A port that leads to another one, which a test may change, or to none."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.servers.harness import HOST, PATIENCE


class Relay:
    """
    Carries bytes between clients and a port, in threads, since a driver of browsers blocks.

    ``to`` is where new connections lead; if it is 0, they end at once.
    """

    def __init__(self, to: int) -> None:
        self.to = to
        self._carries = threading.Event()
        self._carries.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
        for each in self._sockets:
            each.close()

    def swallow(self) -> None:
        """Carry nothing more on the connections that there are, without a word to either side."""
        self._carries.clear()
        self._carries = threading.Event()
        self._carries.set()

    def cut(self) -> None:
        """End the connections that there are."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            there = socket.create_connection((HOST, self.to), PATIENCE)
        except OSError:
            client.shutdown(socket.SHUT_RDWR)
            return
        there.settimeout(None)
        self._sockets.append(there)
        for ends in ((client, there), (there, client)):
            thread = threading.Thread(target=_carry, args=(*ends, self._carries))
            self._threads.append(thread)
            thread.start()


def _carry(here: socket.socket, there: socket.socket, carries: threading.Event) -> None:
    with suppress(OSError):
        while data := here.recv(65_536):
            if carries.is_set():
                there.sendall(data)
        if carries.is_set():
            there.shutdown(socket.SHUT_WR)
