"""
Proxies in front of a server, with the files of docs/proxies.md.

The files are taken as they stand there; only addresses are put in, and what lets a proxy run beside
others, as nobody in particular. Start at ``PROXIES``.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.documents import block_of
from tests.engines import until
from tests.programs import require
from tests.servers.harness import HOST, PATIENCE, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE: Final = "docs/proxies.md"


class Proxy:
    """A proxy that a test started; ``idle`` are the seconds that it leaves a quiet socket alone."""

    language: str
    started = ""
    """What its log has when it takes signals and commands."""

    def __init__(self, folder: Path, *servers: Server) -> None:
        self.port = free_port()
        self.folder = folder
        self._ports = [server.port for server in servers]
        self.admin_port = free_port()
        self.log = folder / "log"
        self.file = folder / "configuration"
        self._running: subprocess.Popen[bytes] | None = None

    def configuration(self, idle: int) -> str:
        """Return the file of the page, with addresses and time put in."""
        text = block_of(PAGE, self.language).code
        for port, own in zip((8001, 8002), 2 * self._ports, strict=False):
            text = text.replace(f"127.0.0.1:{port}", f"{HOST}:{own}")
        return self.adapt(text.replace("75s", f"{idle}s"), idle)

    def adapt(self, text: str, idle: int) -> str:
        """Put in what is special to this proxy."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.file.write_text(self.configuration(75))
        with self.log.open("w") as log:
            self._running = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, f"{self.language} to start", PATIENCE)

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._running is not None
        return self._running

    def _answers(self) -> bool:
        log = self.log.read_text()
        assert self._process.poll() is None, log
        return self.started in log and is_open(self.port)

    def reload(self, idle: int) -> None:
        """Let it read a new configuration; it may take a while until that counts."""
        self.file.write_text(self.configuration(idle))
        self._reload()

    def _reload(self) -> None:
        raise NotImplementedError

    def send_signal(self, number: int) -> None:
        """Send a signal to its first process."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Ask it to stop; this does not wait."""
        self.send_signal(signal.SIGTERM)

    def has_exited(self) -> bool:
        """Wait for it to end by itself, and return whether it did."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End what is left of it."""
        if self._running is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)


def is_open(port: int) -> bool:
    """Return whether somebody listens on a port."""
    try:
        socket.create_connection((HOST, port), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def run(command: list[str], folder: Path) -> None:
    """Run a command that ends by itself, and must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Nginx(Proxy):
    language = "nginx"

    def adapt(self, text: str, idle: int) -> str:
        site = text.replace("listen 80;", f"listen {HOST}:{self.port};")
        return (
            f"daemon off; pid {self.folder}/pid; error_log {self.folder}/error; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {self.folder}/body;\n"
            f"proxy_temp_path {self.folder}/proxy; fastcgi_temp_path {self.folder}/fastcgi;\n"
            f"uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;\n{site}}}\n"
        )

    def command(self) -> list[str]:
        program = require("nginx", "nginx-light")
        error = str(self.folder / "error")
        return [program, "-p", str(self.folder), "-e", error, "-c", str(self.file)]

    def errors(self) -> str:
        """Return what it logged about errors; it must have exited."""
        return (self.folder / "error").read_text()

    def _reload(self) -> None:
        self.send_signal(signal.SIGHUP)


class Caddy(Proxy):
    language = "caddy"

    def adapt(self, text: str, idle: int) -> str:
        site = text.replace("example.com {", f"http://{HOST}:{self.port} {{")
        return f"{{\n    admin {HOST}:{self.admin_port}\n}}\n{site}"

    def command(self) -> list[str]:
        program = require("caddy", "caddy")
        return [program, "run", "--adapter", "caddyfile", "--config", str(self.file)]

    def _reload(self) -> None:
        command = self.command()
        command[1] = "reload"
        run([*command, "--force", "--address", f"{HOST}:{self.admin_port}"], self.folder)


class HAProxy(Proxy):
    language = "haproxy"

    def adapt(self, text: str, idle: int) -> str:
        return text.replace("bind :80", f"bind {HOST}:{self.port}")

    def command(self) -> list[str]:
        program = require("haproxy", "haproxy")
        return [program, "-W", "-db", "-S", f"{HOST}:{self.admin_port}", "-f", str(self.file)]

    def _reload(self) -> None:
        until(self._has_reloaded, "haproxy to reload", PATIENCE)

    def _has_reloaded(self) -> bool:
        # Its first process replaces itself when it has started, and again when it reloads: a
        # signal is lost then, and a connection refused or reset.
        with (
            suppress(ConnectionRefusedError, ConnectionResetError),
            socket.create_connection((HOST, self.admin_port), PATIENCE) as master,
        ):
            master.sendall(b"reload\n")
            master.recv(1024)
        return "Reloading HAProxy" in self.log.read_text()


class Apache(Proxy):
    language = "apache"

    MODULES = ("mpm_event", "authz_core", "headers", "proxy", "proxy_http")

    def adapt(self, text: str, idle: int) -> str:
        site = text.replace("*:80", f"{HOST}:{self.port}").replace("timeout=75", f"timeout={idle}")
        lines = [
            f"ServerRoot {self.folder}",
            f"DefaultRuntimeDir {self.folder}",
            f"PidFile {self.folder}/pid",
            f"Listen {HOST}:{self.port}",
            f"ServerName {HOST}",
            f"Timeout {idle}",
            f"ErrorLog {self.folder}/error",
            *(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in self.MODULES),
        ]
        if os.geteuid() == 0:
            lines += ["User nobody", f"Group #{pwd.getpwnam('nobody').pw_gid}"]
        return "\n".join([*lines, site])

    def command(self) -> list[str]:
        program = require("apache2", "apache2")
        return [program, "-D", "FOREGROUND", "-f", str(self.file)]

    def _reload(self) -> None:
        self.send_signal(signal.SIGUSR1)


class Varnish(Proxy):
    language = "vcl"
    started = "Child starts"

    def adapt(self, text: str, idle: int) -> str:
        return text.replace('.port = "8001"', f'.port = "{self._ports[0]}"')

    def command(self) -> list[str]:
        return [
            require("varnishd", "varnish"), "-F", "-n", str(self.folder / "varnish"),
            "-a", f"{HOST}:{self.port}", "-f", str(self.file), "-s", "malloc,16m",
            "-j", "none", "-p", "pipe_timeout=75",
        ]  # fmt: skip

    def _reload(self) -> None:
        self._administer("vcl.load", "reloaded", str(self.file))
        self._administer("vcl.use", "reloaded")

    def reload(self, idle: int) -> None:
        super().reload(idle)
        self._administer("param.set", "pipe_timeout", str(idle))

    def _administer(self, *words: str) -> None:
        program = require("varnishadm", "varnish")
        run([program, "-n", str(self.folder / "varnish"), *words], self.folder)


APACHE_MODULES: Final = "/usr/lib/apache2/modules"

PROXIES: Final[dict[str, type[Proxy]]] = {
    "nginx": Nginx,
    "caddy": Caddy,
    "haproxy": HAProxy,
    "apache": Apache,
    "varnish": Varnish,
}


@contextmanager
def proxied(name: str, folder: Path, *servers: Server) -> Iterator[Proxy]:
    """Start a proxy in front of one server or two, and end it with the block."""
    proxy = PROXIES[name](folder, *servers)
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.kill()
