"""
Serve the example with two processes and an engine between them: `python scripts/serve.py redis`.

Both processes listen on one port, and the kernel shares out the connections. The chat's page says
which process serves it. Without `--url` the engine is started here too, for as long as this runs.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parent.parent / "example_project"
HOST = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["redis", "postgres"])
    parser.add_argument("--url", help="an engine that runs already, such as redis://127.0.0.1:6379")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with ExitStack() as stack:
        sockets = [stack.enter_context(listener(options.port)) for _ in range(options.processes)]
        start = {"redis": redis, "postgres": postgres}[options.engine]
        url = options.url or stack.enter_context(start())
        environment = {**os.environ, "GROUPS_URL": url}
        manage = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(manage, cwd=PROJECT, env=environment, check=True)
        servers = [stack.enter_context(daphne(each, environment)) for each in sockets]
        print(f"The example project is at http://{HOST}:{options.port}/chat/ (Ctrl-C stops it)")
        print("Served by the processes", " and ".join(str(server.pid) for server in servers))
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            os.wait()


def listener(port: int) -> socket.socket:
    """Return a socket that shares its port with others like it."""
    try:
        return socket.create_server((HOST, port), reuse_port=True)
    except OSError as error:
        sys.exit(f"Port {port} of {HOST} can't be had: {error}. Choose another with --port.")


@contextmanager
def running(command: list[str], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends. Ctrl-C is for us, who stop the others in order."""
    process = subprocess.Popen(command, process_group=0, **more)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def daphne(sock: socket.socket, environment: dict[str, str]) -> Any:
    """Run daphne on a socket."""
    number = str(sock.fileno())
    command = [sys.executable, "-m", "daphne", "--fd", number, "config.asgi:application"]
    return running(command, cwd=PROJECT, env=environment, pass_fds=[sock.fileno()])


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis that can be reached through a file only, and keeps nothing."""
    program = installed("redis-server", "redis-server")
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/redis.sock"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
        with running(command, stdout=subprocess.DEVNULL):
            yield f"unix://{path}"


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL of our own, which is forgotten at the end."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    path = os.pathsep.join([os.environ["PATH"], *map(str, newest)])
    initdb, program = (installed(name, "postgresql", path) for name in ("initdb", "postgres"))
    with tempfile.TemporaryDirectory() as directory, socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        identity: dict[str, Any] = {"cwd": directory}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)
            identity.update(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
        identity.update(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        make = [initdb, "--pgdata=data", "--auth=trust", "--username=example", "--no-sync"]
        subprocess.run(make, check=True, **identity)
        taken.close()
        serve = [program, "-D", "data", "-h", HOST, "-p", str(port), "-k", "", "-F"]
        with running(serve, **identity):
            ready = [installed("pg_isready", "postgresql", path), "-q", "-h", HOST, "-p", str(port)]
            while subprocess.run(ready, check=False).returncode:
                pass
            yield f"postgres://example@{HOST}:{port}/postgres"


def installed(program: str, package: str, path: str | None = None) -> str:
    """Return where a program is, or say what to install."""
    found = shutil.which(program, path=path)
    if found is None:
        sys.exit(f"{program} is not installed. On Debian: apt install {package}. Or name --url.")
    return found


if __name__ == "__main__":
    main()
