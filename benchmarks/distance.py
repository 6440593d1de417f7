"""
A TCP proxy that makes a server on this machine look as if it were some way off.

It runs in a process of its own, so that it takes no time from what is measured: ``with
at_distance("localhost", 5432, 0.001) as port``. However much is on its way, each piece arrives so
much later and no more, as on a long line.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def at_distance(host: str, port: int, seconds: float, there: float = 0) -> Iterator[int]:
    """
    Start a proxy whose answers come so many seconds later; yield its port.

    What goes ``there`` comes so many seconds later, too.
    """
    command = [sys.executable, "-m", "benchmarks.distance"]
    command += [host, str(port), str(seconds), str(there)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Carry bytes one way, each piece after a delay."""
    later = asyncio.get_running_loop().call_later
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            if delay:
                later(delay, write, writer, data)
            else:
                write(writer, data)
    later(delay, writer.close)


def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write, unless the other side has gone meanwhile."""
    if not writer.is_closing():
        writer.write(data)


async def serve(host: str, port: int, delay: float, delay_there: float) -> None:
    """Carry every connection to the server and back, each way with a delay."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(carry(reader, back, delay_there), carry(there, writer, delay))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
