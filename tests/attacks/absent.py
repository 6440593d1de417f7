"""Clients that are gone, or as good as gone, and never said so."""

import asyncio
import signal
import sys
import time
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.attacks.neighbours import neighbours
from tests.attacks.remains import Remains, after
from tests.attacks.silent_members import MESSAGES, publish
from tests.attacks.sockets import drop_packets, forget, open_socket, sockets, take_packets
from tests.attacks.table import Finding, attack
from tests.servers.harness import HERE, PATIENCE, NothingHappened, Server, new_key
from wsconsumer.servers.departure import LINGER

LONG = 60.0
"""Seconds within which servers that ping have noticed that nobody answers."""

COUNTED, IDLE = "/ws/counted/x/", "/ws/counted/idle/x/"
CLOSED_IN = 50.0
"""Seconds for `send_timeout`, 30, and for a close that is not answered, 10."""


async def left_by(server: Server, count: int, path: str, patience: float) -> Finding:
    """Let clients vanish; say when all have had their `disconnect()`, and what stays of them."""
    remains = Remains(server)
    async with sockets(server, path, count) as clients:
        async with neighbours(server) as others:
            for _, writer in clients:
                drop_packets(writer)
            seconds = await remains.until("disconnects", count, patience)
        stay, is_clean = await remains.end() if seconds is not None else ("all stay", False)
    return Finding(f"{after(seconds, patience)}, {stay}, {others}", is_clean and others.are_well)


@attack("{count} vanish from the network, without FIN or RST: disconnect()", full=50, quick=5)
async def vanishes(server: Server, count: int) -> Finding:
    return await left_by(server, count, COUNTED, LONG)


@attack("{count} vanish, and the consumer has `idle_timeout = 2`: disconnect()", full=50, quick=5)
async def vanishes_idle(server: Server, count: int) -> Finding:
    return await left_by(server, count, IDLE, 2 * PATIENCE)


@attack("{count} forget the connection, as after a power cut: disconnect()", full=50, quick=5)
async def half_open(server: Server, count: int) -> Finding:
    remains = Remains(server)
    async with sockets(server, COUNTED, count) as clients:
        try:
            for _, writer in clients:
                forget(writer)
        except PermissionError:
            return Finding("skipped: needs CAP_NET_ADMIN, so run it as root", is_bounded=True)
        seconds = await remains.until("disconnects", count, LONG)
        stay, is_clean = await remains.end() if seconds is not None else ("all stay", False)
    return Finding(f"{after(seconds, LONG)}, {stay}", is_clean)


@attack("{count} close their half of TCP, and keep the other open: disconnect()", full=50, quick=5)
async def half_closed(server: Server, count: int) -> Finding:
    remains = Remains(server)
    async with sockets(server, COUNTED, count) as clients:
        for _, writer in clients:
            writer.write_eof()
        seconds = await remains.until("disconnects", count)
        stay, is_clean = await remains.end()
    return Finding(f"{after(seconds, PATIENCE)}, {stay}", is_clean)


@attack("is out of the network for 5 s, while 20 messages are sent: it gets")
async def tunnel(server: Server) -> Finding:
    """Those who come back into the network have missed nothing."""
    group = new_key()
    path = f"/ws/fanout/plain/{group}/{new_key()}/"
    reader, writer = await open_socket(server, path)
    drop_packets(writer)
    got: list[bytes] = []

    async def count() -> None:
        with suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(3 * PATIENCE):
                while len(got) < 20:
                    got.append(await reader.readexactly(2 + 50))

    counting = asyncio.create_task(count())
    for _ in range(20):
        await asyncio.to_thread(publish, server, group, 1, 50)
        await asyncio.sleep(0.25)  # the time in the tunnel
    assert not got, "the packets were not dropped"
    take_packets(writer)
    await counting
    writer.transport.abort()
    return Finding(f"{len(got)} of 20", len(got) == 20)


async def hear_all(reader: ClientConnection, count: int) -> tuple[int, float]:
    """Read broadcasts in order; return how many came, and in what time."""
    began, got = time.monotonic(), 0
    with suppress(TimeoutError, ConnectionClosed):
        async with asyncio.timeout(2 * PATIENCE):
            while got < count:
                message = await reader.recv()
                assert message[:4] == got.to_bytes(4), "misordered"
                got += 1
    return got, time.monotonic() - began


async def overwhelm(server: Server, group: str, slow: str, count: int, remains: Remains) -> Finding:
    """
    Send more than slow members take, beside one that reads.

    Say what it gets, when the slow ones, whose key is ``slow``, are closed, and what stays.
    """
    path = f"/ws/fanout/plain/{group}/{new_key()}/"
    began = time.monotonic()
    async with await server.open(path, compression=None) as reader:
        publishing = asyncio.create_task(asyncio.to_thread(publish, server, group))
        got, seconds = await hear_all(reader, MESSAGES)
        await publishing
        with suppress(NothingHappened):
            await server.journal.wait_for_times(slow, "disconnect", count, CLOSED_IN)
    closed_after = time.monotonic() - began
    codes = {code for code, _ in server.journal.story(slow).disconnects}
    left = len(server.journal.story(slow).disconnects)
    stay, is_clean = await remains.end(LINGER + PATIENCE)
    text = (
        f"{got} of {MESSAGES} in {seconds:.1f} s, {left} closed with "
        f"{', '.join(map(str, codes)) or 'nothing'} after {closed_after:.0f} s; "
        f"after {time.monotonic() - began:.0f} s {stay}"
    )
    is_good = (got, left, codes) == (MESSAGES, count, {1013})
    return Finding(text, is_good and is_clean)


@attack(
    "{count} members are SIGSTOPped while 4 MB are sent: what one that reads gets",
    full=20,
    quick=3,
)
async def stopped(server: Server, count: int) -> Finding:
    group, slow, remains = new_key(), new_key(), Remains(server)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.stoppable"),
        *(str(server.port), f"/ws/fanout/plain/{group}/{slow}/", str(count)),
        cwd=HERE.parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        return await overwhelm(server, group, slow, count, remains)
    finally:
        process.kill()
        await process.wait()


@attack("reads 1 kB/s of a group: its share of 900 B/s, then of 4 MB at once")
async def trickles(server: Server) -> Finding:
    group, slow, remains = new_key(), new_key(), Remains(server)
    reader, writer = await open_socket(server, f"/ws/fanout/plain/{group}/{slow}/", is_narrow=True)
    read, has_share = 0, asyncio.Event()

    async def trickle() -> None:
        nonlocal read
        with suppress(ConnectionError):
            while chunk := await reader.read(100):
                read += len(chunk)
                if read >= 100 * 90:
                    has_share.set()
                await asyncio.sleep(0.1)  # what makes it slow

    trickling = asyncio.create_task(trickle())
    try:
        for _ in range(100):
            await asyncio.to_thread(publish, server, group, 1, 88)
            await asyncio.sleep(0.1)  # so that it is 900 B/s
        async with asyncio.timeout(PATIENCE):
            await has_share.wait()
        finding = await overwhelm(server, group, slow, 1, remains)
    finally:
        trickling.cancel()
        writer.transport.abort()
    return Finding(f"100 of 100, then another {finding.text}", finding.is_bounded)
