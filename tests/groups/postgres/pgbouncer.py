"""A PgBouncer of our own, in front of a PostgreSQL of our own."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.engines import free_port, until
from tests.programs import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Postgres


class PgBouncer:
    """Pools connections, by the ``session``, the ``transaction`` or the ``statement``."""

    def __init__(self, directory: Path, postgres: Postgres, mode: str) -> None:
        self.port = free_port()
        self._postgres = postgres
        program = require("pgbouncer", "pgbouncer", "/usr/sbin/pgbouncer")
        users = directory / "users.txt"
        users.write_text('"tester" ""\n')
        config = directory / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={self.port}\nunix_socket_dir=\n"
            f"auth_type=trust\nauth_file={users}\npool_mode={mode}\ndefault_pool_size=5\n"
        )
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            # It refuses to run as root.
            user = pwd.getpwnam("postgres")
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process = subprocess.Popen(
            [program, "-q", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **identity,
        )
        until(self._answers, "pgbouncer to start")

    @property
    def settings(self) -> dict[str, Any]:
        """What Django needs to know to connect through it."""
        return {**self._postgres.settings, "PORT": str(self.port)}

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(10)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "pgbouncer ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False
