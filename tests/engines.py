"""Engines that tests start for themselves, on free ports, if the program is installed."""

from __future__ import annotations

import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import redis
from django.db import connections
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.programs import require
from wsconsumer import threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import LiteralString


_anyhow: Final = random.SystemRandom()
"""Not seeded as each test is, or all of them would try the same ports."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, and none that the system gives to clients."""
    while True:
        port = _anyhow.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Postgres:
    """A PostgreSQL cluster in a temporary directory."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._pg_ctl = require("pg_ctl", "postgresql")
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root; Debian's package comes with a user for it.
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)
            self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._run(
            require("initdb", "postgresql"), "--pgdata=.", "--auth=trust", "--username=tester",
            "--no-sync", "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        access = directory / "pg_hba.conf"
        access.write_text(f"host all guarded all scram-sha-256\n{access.read_text()}")
        self.start()

    @property
    def settings(self) -> dict[str, Any]:
        """What Django needs to know to connect."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "tester",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._run(self._pg_ctl, "start", "-w", "-D", ".", "-l", "log", "-o", f"{options} -F")

    def stop(self) -> None:
        """Stop the server, without waiting for its clients."""
        self.resume()
        self._run(self._pg_ctl, "stop", "-w", "-D", ".", "-m", "fast")

    def kill(self) -> None:
        """Let the server crash."""
        self._run(self._pg_ctl, "stop", "-w", "-D", ".", "-m", "immediate")

    def restart(self) -> None:
        """Stop and start: every connection is lost."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let all its processes hang: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def query(self, sql: LiteralString, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run SQL on a connection of its own; return the rows if it gives any."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, dbname="postgres", user="tester", autocommit=True
        ) as connection:
            cursor = connection.execute(sql, arguments)
            return cursor.fetchall() if cursor.description else []

    def _signal(self, number: signal.Signals) -> None:
        # The first makes the others: it goes first, so that none is missed.
        file = self._directory / "postmaster.pid"
        if file.exists():
            first = int(file.read_text().split()[0])
            os.kill(first, number)
            processes = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="])  # noqa: S607
            for child, parent in (map(int, line.split()) for line in processes.splitlines()):
                if parent == first:
                    with suppress(ProcessLookupError):
                        os.kill(child, number)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            **self._identity,
        )
        assert done.returncode == 0, done.stderr.decode()


def drop_threads() -> None:
    """End the threads with their database connections; new ones are created when needed."""
    threads.close_threads(_drop_connections)


def _drop_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # Django keeps a connection to an in-memory sqlite open, whoever closes it.
        if connection.connection is not None:
            connection.connection.close()
            connection.connection = None


def until(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Wait until a condition holds of something outside, which gives no event."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} seconds for {what}"
        time.sleep(0.005)


class Redis:
    """A Redis server in a directory; ``arguments`` are those of its command line."""

    def __init__(
        self, directory: Path, *arguments: str, password: str = "", file: Path | None = None
    ) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(dir=directory))
        self.socket = self.directory / "redis.sock"
        self._password = password
        self._command = [
            require("redis-server", "redis-server"), *([str(file)] if file else []),
            "--port", str(self.port),
            "--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--save", "",
            "--dir", str(self.directory), "--loglevel", "warning", *arguments,
        ]  # fmt: skip
        if password:
            self._command += ["--requirepass", password]
        self.start()

    @property
    def url(self) -> str:
        """Where it is, with the password if it has one."""
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        until(self._answers, "redis-server to start")

    def stop(self) -> None:
        """Stop the server in good order."""
        self.resume()
        self._process.terminate()
        self._process.wait(10)

    @property
    def is_running(self) -> bool:
        """Whether it was neither stopped nor killed."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the server at once."""
        self._process.kill()
        self._process.wait(10)

    def restart(self) -> None:
        """Kill and start: every connection and subscription is lost."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def command(self, *arguments: str | bytes | int) -> Any:
        """Run a command, on a connection of its own."""
        client = redis.Redis.from_url(self.url, protocol=2, retry=Retry(NoBackoff(), 0))
        try:
            return client.execute_command(*arguments)
        finally:
            client.close()

    def set_password(self, password: str, *, with_password: str) -> None:
        """Change the password; ``with_password`` is the one so far."""
        self._password = with_password
        self.command("CONFIG", "SET", "requirepass", password)
        self._password = password

    def calls(self) -> dict[str, int]:
        """Return how often each command was called since CONFIG RESETSTAT."""
        stats = self.command("INFO", "commandstats")
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}

    def _answers(self) -> bool:
        assert self._process.poll() is None, "redis-server ended"
        try:
            return bool(self.command("PING"))
        except redis.ConnectionError:
            return False


class RedisTLS(Redis):
    """A Redis server that speaks TLS only, with a certificate that it signed itself."""

    def __init__(self, directory: Path) -> None:
        self.certificate = directory / "server.crt"
        key = directory / "server.key"
        subprocess.run(
            [
                require("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                "-keyout", str(key), "-out", str(self.certificate), "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )  # fmt: skip
        self.tls_port = free_port()
        super().__init__(
            directory, "--port", "0", "--tls-port", str(self.tls_port), "--tls-cert-file",
            str(self.certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no",
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}?ssl_ca_certs={self.certificate}"


class Sentinel(Redis):
    """A Redis Sentinel that watches a master under the name ``mymaster``."""

    def __init__(self, directory: Path, master: Redis) -> None:
        file = Path(tempfile.mkdtemp(dir=directory)) / "sentinel.conf"
        file.write_text(
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 2000\n"
        )
        super().__init__(directory, "--sentinel", file=file)
