"""``handshake/advice.py``: a refusal says which part of the request failed, and what cures it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from tests.handshake.telling import denied, headers

pytestmark = pytest.mark.urls("tests.handshake.telling")

BEHIND_TLS = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
HTTPS = {"x_forwarded_proto": "https"}
HTTP_HOST = "nginx: proxy_set_header Host $http_host"


async def refusal(
    caplog: pytest.LogCaptureFixture, status: int, sent: dict[str, str], **settings: Any
) -> str:
    """Ask for a websocket that is refused; return the one line of the log."""
    with override_settings(**settings):
        assert (await denied(headers=headers(**sent))).status == status
    (line,) = (each.getMessage() for each in caplog.records if each.name == "wsconsumer.handshake")
    return line


async def test_another_scheme(caplog: pytest.LogCaptureFixture) -> None:
    """A page that came by http is told so, and who says that the websocket came by https."""
    sent = {"origin": "http://example.com", **HTTPS}
    line = await refusal(caplog, 403, sent, **BEHIND_TLS)
    assert line == (
        "Refused a websocket on /ws/ with 403: the Origin 'http://example.com' has this host, but "
        "another scheme: it came by http, and this request by https, says X-Forwarded-Proto."
    )


async def test_a_port_that_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    """A Host without the Origin's port names the directive that keeps it, and no list to add to."""
    line = await refusal(caplog, 403, {"origin": "https://example.com:8443"})
    assert "has this host, but a port, which the Host header lacks" in line
    assert f"{HTTP_HOST}), and not $host" in line
    assert "ALLOWED_ORIGINS" not in line


async def test_another_port(caplog: pytest.LogCaptureFixture) -> None:
    """A server on another port of this host is another site, or a proxy's doing."""
    sent = {"host": "example.com:8000", "origin": "http://example.com:5173"}
    line = await refusal(caplog, 403, sent)
    assert "another port than the Host header, which has 8000" in line
    assert HTTP_HOST in line
    assert "ALLOWED_ORIGINS" in line


@pytest.mark.parametrize("forwarded", ["example.com", "Example.com:443, inner"])
async def test_a_host_that_was_replaced(forwarded: str, caplog: pytest.LogCaptureFixture) -> None:
    """With the Origin's host in X-Forwarded-Host, the setting and the directive are named."""
    sent = {"host": "localhost", "origin": "https://example.com", "x_forwarded_host": forwarded}
    line = await refusal(caplog, 403, sent)
    assert "another host than the Host header, 'localhost', but X-Forwarded-Host has it" in line
    assert HTTP_HOST in line
    assert "USE_X_FORWARDED_HOST" in line
    assert "ALLOWED_ORIGINS" not in line


@pytest.mark.parametrize("host", ["127.0.0.1:8001", "[::1]:8001", "mysite", "10.1.2.3"])
async def test_a_host_of_a_server_inside(host: str, caplog: pytest.LogCaptureFixture) -> None:
    """A Host that no visitor could have typed is what a proxy makes of it."""
    sent = {"host": host, "origin": "https://example.com"}
    line = await refusal(caplog, 403, sent, ALLOWED_HOSTS=["*"])
    assert f"another host than the Host header, '{host}'. If it is this site, let the pro" in line
    assert HTTP_HOST in line


@pytest.mark.parametrize(
    ("origin", "part"),
    [("http://app.example.net", "scheme"), ("https://app.example.net:8443", "port")],
)
async def test_almost_trusted(origin: str, part: str, caplog: pytest.LogCaptureFixture) -> None:
    """An origin whose host is trusted is told what is different."""
    trusted = {"ALLOWED_ORIGINS": ["https://other.net", "https://app.example.net"]}
    line = await refusal(caplog, 403, {"origin": origin}, WSCONSUMER=trusted)
    assert f"has another {part} than the origin of that host that is trusted" in line


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "app://example.com"])
async def test_somebody_else(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is like nothing that is trusted is told who is."""
    line = await refusal(caplog, 403, {"origin": origin})
    assert f"the Origin '{origin}' is neither this host, 'example.com', nor in CSRF_" in line


async def test_a_local_page_of_another_name(caplog: pytest.LogCaptureFixture) -> None:
    """Between two names of one's own machine there is no proxy to blame."""
    sent = {"host": "127.0.0.1:8000", "origin": "http://localhost:8000"}
    assert "is neither this host, '127.0.0.1:8000'" in await refusal(caplog, 403, sent)


# Hosts

REPLACED = {"host": "my_site", "x_forwarded_host": "example.com"}


async def test_a_host_beside_the_forwarded_one(caplog: pytest.LogCaptureFixture) -> None:
    """A Host that was replaced is not to be allowed, but the one beside it to be used."""
    line = await refusal(caplog, 400, REPLACED)
    assert "the Host 'my_site' is not allowed, but that in X-Forwarded-Host is" in line
    assert HTTP_HOST in line
    assert "USE_X_FORWARDED_HOST" in line
    assert "ALLOWED_HOSTS" not in line


async def test_a_host_beside_the_origins(caplog: pytest.LogCaptureFixture) -> None:
    """The page knows the Host that should have come."""
    sent = {"host": "10.0.0.7:8001", "origin": "https://example.com"}
    line = await refusal(caplog, 400, sent)
    assert "'10.0.0.7:8001' is not allowed, but that of the Origin, 'example.com', is" in line
    assert HTTP_HOST in line
    assert "ALLOWED_HOSTS" not in line


@pytest.mark.parametrize(
    "more", [{}, {"origin": "null"}, {"origin": "https://evil.com"}], ids=["none", "null", "evil"]
)
async def test_an_unknown_host(more: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing else is known, there are Django's words, and the proxy in the second place."""
    line = await refusal(caplog, 400, {"host": "evil.com", **more})
    assert "You may need to add 'evil.com' to ALLOWED_HOSTS. If a proxy stands in between, " in line
    assert HTTP_HOST in line


async def test_a_forwarded_host_that_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Where X-Forwarded-Host is used already, nobody is told to use it."""
    sent = {"host": "example.com", "x_forwarded_host": "evil.com"}
    line = await refusal(caplog, 400, sent, USE_X_FORWARDED_HOST=True)
    assert "You may need to add 'evil.com' to ALLOWED_HOSTS" in line


# Redirects to https

REDIRECTING = {
    "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
    "SECURE_SSL_REDIRECT": True,
}
SECURE_PAGE = {"origin": "https://example.com"}


@pytest.mark.parametrize(
    ("sent", "settings", "cure"),
    [
        (HTTPS, {}, "set SECURE_PROXY_SSL_HEADER to X-Forwarded-Proto if the proxy always sets"),
        ({"x_forwarded_proto": "wss"}, {}, "set SECURE_PROXY_SSL_HEADER to X-Forwarded-Proto"),
        (SECURE_PAGE, {}, "set SECURE_PROXY_SSL_HEADER, and let the proxy say so (nginx: proxy_se"),
        (SECURE_PAGE, BEHIND_TLS, "(nginx: proxy_set_header X-Forwarded-Proto $scheme)"),
        (
            {**SECURE_PAGE, "x_forwarded_proto": "http"},
            BEHIND_TLS,
            "X-Forwarded-Proto is 'http', and should be 'https'",
        ),
    ],
    ids=["setting", "setting-wss", "both", "directive", "wrong-value"],
)
async def test_a_redirect_to_the_same_url(
    sent: dict[str, str], settings: Any, cure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that came by https and is sent there is told which of the two is not set."""
    line = await refusal(caplog, 301, sent, **REDIRECTING, **settings)
    assert line.startswith("Refused a websocket on /ws/ with 301: SECURE_SSL_REDIRECT sends it to")
    assert cure in line


@pytest.mark.parametrize(
    ("address", "sent", "settings", "status"),
    [
        ("/ws/", {}, REDIRECTING, 301),
        ("/ws/", {"origin": "http://example.com"}, REDIRECTING, 301),
        ("/ws/teapot/", {**SECURE_PAGE, **HTTPS}, {**REDIRECTING, **BEHIND_TLS}, 418),
        ("/ws/teapot/", SECURE_PAGE, {"MIDDLEWARE": []}, 418),
    ],
    ids=["no-page", "insecure-page", "secure", "no-redirect"],
)
async def test_other_answers_are_not_explained(
    address: str, sent: Any, settings: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Who came by http is told where it leads, and nothing of proxies; others are the project's."""
    with override_settings(**settings):
        assert (await denied(address, headers(**sent))).status == status
    told = [record.message for record in caplog.records if record.name.startswith("wsconsumer")]
    assert len(told) == (status == 301)
    assert "SECURE_SSL_REDIRECT" not in caplog.text
