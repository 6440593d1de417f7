"""Exceptions of every kind, in every hook, at every moment."""

import asyncio
from contextlib import suppress

from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.attacks.table import Finding, attack
from tests.exceptions import ERRORS
from tests.servers.harness import SOON, Server, new_key, remaining

MOMENTS = {
    "connect": 500,
    "accepted": 1011,
    "receive": 1011,
    "sent": 1011,
    "group": 1011,
    "spawned": 1011,
    "disconnect": 1000,
}
"""Where a hook raises, and the status or close code that the client must see."""


async def outcome(server: Server, where: str, which: int, key: str) -> int | None:
    """Return the status or close code that the client sees."""
    try:
        websocket = await server.open(f"/ws/raises/{where}/{which}/{key}/")
    except InvalidStatus as error:
        return error.response.status_code
    async with asyncio.timeout(SOON):
        with suppress(ConnectionClosed):  # it may have ended by itself
            await (websocket.close() if where == "disconnect" else websocket.send("go"))
        await remaining(websocket)
    return websocket.close_code


async def fails_well(server: Server, where: str, which: int) -> bool:
    """Tell whether the exception ended its own connection, in good order."""
    key = new_key()
    try:
        seen = await outcome(server, where, which, key)
        story = await server.ended(key)
    except (OSError, AssertionError, TimeoutError):
        return False
    times = 0 if where == "connect" else 1
    return (seen, len(story.disconnects)) == (MOMENTS[where], times)


@attack("raises 15 exceptions at seven moments of the hooks: connections that end as they should")
async def exceptions(server: Server) -> Finding:
    cases = [(where, which) for where in MOMENTS for which in range(len(ERRORS))]
    async with server.connect(f"/ws/echo/{new_key()}/") as other:
        ends = [await fails_well(server, *case) for case in cases]
        await other.send("still here")
        is_alive = await other.recv() == "still here" and not server.has_exited(within=0)
    text = f"{sum(ends)} of {len(cases)}{'' if is_alive else ', and nobody else lives'}"
    return Finding(text, all(ends) and is_alive)
