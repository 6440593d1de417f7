"""A process with websockets that nobody reads; whoever runs it may stop it."""

import socket
import sys

from tests.attacks.sockets import NARROW
from tests.servers.harness import HOST, PATIENCE


def main(port: int, path: str, count: int) -> None:
    """Open so many, say so, and wait for the end of standard input."""
    sockets = []
    for _ in range(count):
        one = socket.socket()
        one.settimeout(PATIENCE)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        one.connect((HOST, port))
        one.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert one.recv(1000).startswith(b"HTTP/1.1 101 ")
        sockets.append(one)
    print("ready", flush=True)  # noqa: T201  # what the other process waits for
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
