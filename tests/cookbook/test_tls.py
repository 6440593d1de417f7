"""TLS: each file of the page in front of daphne, and the commands, with a certificate made here."""

from __future__ import annotations

import http.client
import shlex
import shutil
import ssl
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.certificates import Certificate, make_certificate
from tests.engines import free_port, until
from tests.proxies.running import Caddy, Nginx, is_open
from tests.servers.harness import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cookbook.project import Project


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A certificate that signs itself."""
    return make_certificate(tmp_path)


async def echo(port: int, certificate: Certificate, origin: str) -> str | bytes:
    """Say hello to example.com, which is here; return the answer."""
    async with connect(
        "wss://example.com/ws/echo/",
        host=HOST,
        port=port,
        ssl=ssl.create_default_context(cafile=certificate.certificate),
        origin=Origin(origin),
        open_timeout=60,
        proxy=None,
    ) as client:
        await client.send("hello")
        return await client.recv()


class TlsNginx(Nginx):
    """The file of the page."""

    certificate: Certificate
    text: str

    def configuration(self, idle: int) -> str:
        live = "/etc/letsencrypt/live/example.com"
        text = (
            self.text.replace("listen 80;", f"listen {HOST}:{self.admin_port};")
            .replace("listen 443 ssl;", f"listen {HOST}:{self.port} ssl;")
            .replace("127.0.0.1:8000", f"{HOST}:{self._ports[0]}")
            .replace(f"{live}/fullchain.pem", str(self.certificate.certificate))
            .replace(f"{live}/privkey.pem", str(self.certificate.key))
        )
        return self.adapt(text, idle)


class TlsCaddy(Caddy):
    """The file of the page."""

    certificate: Certificate
    text: str

    def configuration(self, idle: int) -> str:
        files = "/etc/ssl/example.com"
        text = (
            self.text.replace("example.com {", f"https://example.com:{self.port} {{")
            .replace("127.0.0.1:8000", f"{HOST}:{self._ports[0]}")
            .replace(f"{files}/fullchain.pem", str(self.certificate.certificate))
            .replace(f"{files}/privkey.pem", str(self.certificate.key))
        )
        options = f"    admin {HOST}:{self.admin_port}\n    auto_https disable_redirects\n"
        return f"{{\n{options}    default_bind {HOST}\n}}\n{text}"


PROXIES: dict[str, type[TlsNginx | TlsCaddy]] = {
    "deploy/nginx.conf": TlsNginx,
    "deploy/Caddyfile": TlsCaddy,
}


@pytest.mark.parametrize("file", PROXIES)
async def test_a_proxy(
    project: Project, file: str, tmp_path: Path, certificate: Certificate
) -> None:
    """A page of https gets its websocket, and one of http does not."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    with project.serve() as address:
        server: Any = SimpleNamespace(port=int(address.rpartition(":")[2]))
        proxy = PROXIES[file](folder, server)
        proxy.certificate = certificate
        proxy.text = (project.directory / file).read_text()
        try:
            proxy.start()
            assert await echo(proxy.port, certificate, "https://example.com") == "hello"
            with pytest.raises(InvalidStatus, match="403"):
                await echo(proxy.port, certificate, "http://example.com")
            if isinstance(proxy, TlsNginx):
                assert redirect_of(proxy.admin_port) == "https://example.com/ws/echo/"
        finally:
            proxy.kill()


def redirect_of(port: int) -> str | None:
    """Return where plain http is sent."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=60)) as client:
        client.request("GET", "/ws/echo/", headers={"Host": "example.com"})
        return client.getresponse().getheader("Location")


@pytest.mark.parametrize(
    "command",
    [
        "daphne -e ssl:8443:privateKey=key.pem:certKey=cert.pem mysite.asgi:application",
        "uvicorn --port 8443 --ssl-keyfile key.pem --ssl-certfile cert.pem mysite.asgi:application",
    ],
    ids=["daphne", "uvicorn"],
)
async def test_a_command(project: Project, command: str, certificate: Certificate) -> None:
    """The server speaks TLS itself, and knows that it does."""
    settings = project.directory / "mysite" / "settings.py"
    settings.write_text(settings.read_text() + "\nSECURE_PROXY_SSL_HEADER = None\n")
    shutil.copy(certificate.certificate, project.directory / "cert.pem")
    shutil.copy(certificate.key, project.directory / "key.pem")
    port = free_port()
    module, *arguments = shlex.split(command.replace("8443", str(port)))
    # Twisted warns of what pyOpenSSL will no longer have.
    with project.running(module, *arguments, PYTHONWARNINGS="default") as program:
        program.wait_for(rf"(?i)(listening|running) .*{port}\b", 60)
        until(lambda: is_open(port), f"{module} to listen", 60)
        assert await echo(port, certificate, "https://example.com") == "hello"
