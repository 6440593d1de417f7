"""Engines that tests start for themselves, on free ports, if the program is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from wsconsumer import threads


def require(program: str, package: str) -> str:
    """Return the path of a program; without it skip, or fail where CI wants them all."""
    found = shutil.which(program) or _in_debian_postgres(program)
    if found is not None:
        return found
    message = f"{program} is not installed. On Debian: apt install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _in_debian_postgres(program: str) -> str | None:
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(versions[-1]) if versions else None


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
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
        self._run(self._pg_ctl, "stop", "-w", "-D", ".", "-m", "fast")

    def restart(self) -> None:
        """Stop and start: every connection is lost."""
        self.stop()
        self.start()

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


def drop_lanes() -> None:
    """End the lanes with their threads and database connections; new ones are made at need."""
    if threads.lanes.cache_info().currsize:
        for lane in threads.lanes().all:
            lane.submit(_drop_connections).result()
            lane.shutdown()
        threads.lanes.cache_clear()


def _drop_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # Django keeps a connection to an in-memory sqlite open, whoever closes it.
        if connection.connection is not None:
            connection.connection.close()
            connection.connection = None
