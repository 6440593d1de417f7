"""``groups/postgres/connecting.py``: several hosts, engines and names that are slow."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.engines import until
from tests.groups.postgres.asking import base as asking
from tests.groups.postgres.harness import SHORT, Log, Standby, alias_of, listening, quick
from wsconsumer.groups.postgres import connecting
from wsconsumer.groups.postgres.connecting import Way, connect
from wsconsumer.groups.postgres.link import Link
from wsconsumer.groups.postgres.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines import Postgres

pytestmark = pytest.mark.usefixtures("database")


# Several hosts


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_silent_host(database: dict[str, Any], silent: int, log: Log) -> None:
    """It has its share of the time, and the next one is asked in what is left."""
    database |= {"HOST": "127.0.0.1,127.0.0.1", "PORT": f"{silent},{database['PORT']}"}
    async with listening("g", TIMEOUT=2) as one:
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
    assert log.messages == []


async def test_a_silent_host_of_a_service_file(
    database: dict[str, Any],
    silent: int,
    log: Log,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hosts in it are as good as those of the settings."""
    file = tmp_path / "services"
    ports = f"{silent},{database['PORT']}"
    file.write_text(f"[ours]\nhost=127.0.0.1,127.0.0.1\nport={ports}\nuser=tester\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    database |= dict.fromkeys(("USER", "HOST", "PORT"), "") | {"OPTIONS": {"service": "ours"}}
    async with listening("g", TIMEOUT=2) as one:
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
    assert log.messages == []


async def test_what_answered_comes_first_next_time(database: dict[str, Any], silent: int) -> None:
    """Whoever failed last is tried last."""
    good = database["PORT"]
    database |= {"HOST": "127.0.0.1,127.0.0.1", "PORT": f"{silent},{good}"}
    tried: list[str] = []
    refused: set[str] = set()

    async def attempt(told: dict[str, str]) -> str:
        tried.append(told["port"])
        if told["port"] in refused:
            raise OSError("refused")
        return told["port"]

    way = Way("pg", 5)
    refused.add(str(silent))
    assert [await way.open(attempt) for _ in range(2)] == [good] * 2
    refused = {good}
    assert [await way.open(attempt) for _ in range(2)] == [str(silent)] * 2
    assert tried == [str(silent), good, good, good, str(silent), str(silent)]


async def test_no_host_will_do(database: dict[str, Any]) -> None:
    """The error says what each of them failed with."""
    database |= {"HOST": "127.0.0.1,127.0.0.2", "PORT": "1,2"}

    async def attempt(told: dict[str, str]) -> None:
        raise OSError(f"not {told['port']}")

    with pytest.raises(ConnectionError) as caught:
        await Way("pg", 5).open(attempt)
    assert str(caught.value) == (
        "127.0.0.1 127.0.0.1 1: OSError: not 1; 127.0.0.2 127.0.0.2 2: OSError: not 2"
    )


async def test_a_standby(postgres: Postgres, database: dict[str, Any], log: Log) -> None:
    """It takes neither LISTEN nor NOTIFY, so the next host is tried."""
    with tempfile.TemporaryDirectory() as directory:
        standby = await asyncio.to_thread(Standby, Path(directory))
        try:
            ports = f"{standby.port},{postgres.port}"
            database |= {"HOST": "127.0.0.1,127.0.0.1", "PORT": ports}
            async with listening("g") as one:
                await one.backend.publish("g", b"end")
                await one.until("g", b"end")
            assert log.messages == []
            database |= {"HOST": "127.0.0.1", "PORT": str(standby.port)}
            async with listening("g"):
                assert log.count("it is a standby, which takes neither LISTEN nor NOTIFY")
        finally:
            await asyncio.to_thread(standby.stop)


# What takes its time


@pytest.fixture
def cloud(
    database: dict[str, Any], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asking.Cloud]:
    """Let the engine ask a cloud, whose address is in a database, for the password."""
    database["ENGINE"] = "tests.groups.postgres.asking"
    one = asking.Cloud()
    monkeypatch.setattr(asking, "cloud", one)
    with alias_of("address", postgres.settings):
        yield one
        one.answer.set()
        for thread in threading.enumerate():
            if thread.name == "wsconsumer-thread":
                thread.join(10)


async def test_an_engine_that_asks_a_cloud(cloud: asking.Cloud) -> None:
    """The event loop goes on meanwhile."""
    starting = asyncio.create_task(_publish_once())
    await asyncio.to_thread(cloud.asked.wait, 10)
    assert not starting.done()
    cloud.answer.set()
    await starting
    assert threading.get_ident() not in cloud.threads


async def _publish_once() -> None:
    async with listening("g") as one:
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")


@quick
async def test_an_engine_that_takes_longer_than_an_attempt(cloud: asking.Cloud, log: Log) -> None:
    """It is asked once at a time, and its answer is that of the next attempt."""
    async with listening("g", **SHORT) as one:
        assert log.count("is away: TimeoutError: no answer within 1.0 seconds")
        assert len(cloud.threads) == 1
        cloud.answer.set()
        await log.until("is back")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
    assert len(cloud.threads) == 2  # for the connection that publishes


@quick
async def test_an_engine_that_never_answers(
    cloud: asking.Cloud, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while another question is tried."""
    monkeypatch.setattr(connecting, "ASKED_FOR", 0)
    async with listening("g", **SHORT):
        assert log.count("is away")
        await asyncio.to_thread(cloud.asked_again.wait, 10)
        assert len(cloud.threads) > 1


@pytest.mark.parametrize("error", [ValueError("no token"), SystemExit("no token")], ids=repr)
async def test_an_engine_that_fails(error: BaseException, cloud: asking.Cloud, log: Log) -> None:
    """Whatever it raises is an outage."""
    cloud.error = error
    cloud.answer.set()
    async with listening("g"):
        assert log.count("is away:") == log.count("no token") == 1


async def test_what_an_engine_opened_is_closed(cloud: asking.Cloud, postgres: Postgres) -> None:
    """One that looks into a database leaves no connection behind in the thread."""
    cloud.answer.set()
    async with listening("g"):
        left = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT 42'"
        await asyncio.to_thread(until, lambda: not postgres.query(left), "it to be closed")


async def test_a_batch_without_the_time_to_wait_for_the_connection(cloud: asking.Cloud) -> None:
    """It fails, and leaves the connection that is being opened to the next one."""
    publisher = Publisher(Way("pg", 60), "test", 1)
    try:
        with pytest.raises(TimeoutError):
            await publisher.publish(["1 1/1 g abody"])
        opening = asyncio.create_task(publisher.publish(["2 1/1 g abody"]))
        await asyncio.sleep(0)
        cloud.answer.set()
        await opening
        assert len(cloud.threads) == 1
    finally:
        await publisher.aclose()


async def test_the_end_while_a_connection_is_opened(cloud: asking.Cloud) -> None:
    """Nobody waits for it."""
    publisher = Publisher(Way("pg", 60), "test", 60)
    publishing = asyncio.create_task(publisher.publish(["1 1/1 g abody"]))
    await asyncio.to_thread(cloud.asked.wait, 10)
    await publisher.aclose()
    with pytest.raises(ConnectionError, match="the backend was closed"):
        await publishing


async def test_preparing_fails() -> None:
    """The connection is closed, and the error is that of the attempt."""
    made: list[Link] = []

    async def prepare(link: Link, _: dict[str, str]) -> None:
        made.append(link)
        raise OSError("not this one")

    with pytest.raises(OSError, match="not this one"):
        await Link.open(Way("pg", 5), prepare)
    with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
        await made[0].execute("SELECT 1")


async def test_a_name_that_is_slow_to_resolve(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are resolved in a thread."""
    threads: list[int] = []
    resolve = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    database["HOST"] = "localhost"
    async with listening("g") as one:
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
    assert threads
    assert threading.get_ident() not in threads


async def test_an_attempt_that_is_given_up() -> None:
    """Its socket is closed at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        opening = asyncio.create_task(
            connect({"host": "127.0.0.1", "port": str(port), "user": "u", "sslmode": "disable"})
        )
        loop = asyncio.get_running_loop()
        server.setblocking(False)
        client, _ = await loop.sock_accept(server)
        with client:
            assert await loop.sock_recv(client, 1000)
            opening.cancel()
            async with asyncio.timeout(10):
                assert await loop.sock_recv(client, 1000) == b""
