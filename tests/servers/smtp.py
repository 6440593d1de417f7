"""A mail server that takes its time."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.harness import HOST


class SlowSmtp:
    """Greets a client when `wait` returns; counts who came and what was taken (RFC 5321)."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self._wait = wait
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.came = threading.Semaphore(0)
        self.taken = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        self.came.release()
        self._wait()
        with client, client.makefile("rwb", 0) as lines:
            lines.write(b"220 hello\r\n")
            is_body = False
            for line in lines:
                if is_body and line != b".\r\n":
                    continue
                self.taken += is_body
                is_body = not is_body and line[:4].upper() == b"DATA"
                lines.write(b"354 go on\r\n" if is_body else b"250 ok\r\n")


@contextmanager
def slow_smtp(wait: Callable[[], object]) -> Iterator[SlowSmtp]:
    """Run such a server."""
    server = SlowSmtp(wait)
    try:
        yield server
    finally:
        server.close()
