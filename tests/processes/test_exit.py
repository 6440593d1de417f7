"""The end of a server process whose threads and event loop have used PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

from tests.processes.running import Server

if TYPE_CHECKING:
    from tests.engines import Postgres


async def test_no_connection_is_left_open(postgres: Postgres) -> None:
    """Handshake threads, lanes, the log's thread, groups: each closes its connection at the end."""
    # uvicorn ends itself with the signal, so that nothing of Python's end runs there.
    database = json.dumps({**postgres.settings, "CONN_MAX_AGE": 600})
    server = Server("daphne", postgres, PROCESSES_DATABASE=database)
    try:
        server.wait_until_ready()
        async with connect(f"{server.url}everywhere/") as failing:
            assert await failing.recv() == "hello"
            await failing.send("fail")
            await failing.wait_closed()
        async with connect(f"{server.url}everywhere/") as left_open:
            assert await left_open.recv() == "hello"
            await asyncio.to_thread(server.stop)
            await left_open.wait_closed()
    finally:
        await asyncio.to_thread(server.stop)
    assert "the process ends" in server.output, server.output
    assert "left open" not in server.output, server.output
    assert "Task was destroyed" not in server.output, server.output
