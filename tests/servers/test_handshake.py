"""How a connection is accepted or denied, as the client sees it."""

import asyncio
import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from tests.servers.harness import QUIET, SOON, Server, new_key, remaining, running


async def denied(server: Server, path: str) -> Response:
    """Return the response that denies the handshake."""
    with pytest.raises(InvalidStatus) as caught:
        await server.open(path)
    return caught.value.response


def http_get(server: Server, path: str) -> tuple[int, bytes]:
    """Return status and body of an ordinary HTTP response."""
    with server.http() as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def raw_denial(server: Server, path: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body, read by a strict HTTP client."""
    with server.http() as connection:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        connection.request("GET", path, headers=upgrade)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        assert len(headers) == len(response.getheaders())
        return response.status, headers, response.read()


async def test_chooses_a_subprotocol(server: Server) -> None:
    """The client is told which of its subprotocols the consumer chose."""
    path = f"/ws/subprotocol/{new_key()}/"
    async with server.connect(path, subprotocols=["chat.v1", "chat.v2"]) as websocket:
        assert websocket.subprotocol == "chat.v2"


async def test_a_token_in_the_subprotocols(server: Server) -> None:
    """The consumer finds the header, the client its own spelling of the name."""
    token = f"secret.{new_key()}"
    path = f"/ws/tells/{new_key()}/"
    async with server.connect(path, subprotocols=["chat", "beaRer", token]) as websocket:
        told = json.loads(await websocket.recv())
        assert websocket.subprotocol == "beaRer"
    assert told["authorization"] == f"Bearer {token}"
    assert told["subprotocols"] == ["chat"]


async def test_a_name_without_a_token(server: Server) -> None:
    """A client that forgot its token is refused."""
    with pytest.raises(InvalidStatus) as caught:
        await server.open(f"/ws/tells/{new_key()}/", subprotocols=["bearer"])
    assert caught.value.response.status_code == 400


async def test_no_log_shows_the_token(server: Server) -> None:
    """Neither the server's output nor a log line of ours has it, also when a hook fails."""
    token, key = f"secret.{new_key()}", new_key()
    path = f"/ws/fails-in-receive/{key}/"
    async with server.connect(path, subprotocols=["bearer", token]) as websocket:
        await websocket.send("go")
        await remaining(websocket)
    assert websocket.close_code == 1011
    await server.journal.wait_for_log(f"deliberate {key}")
    assert token not in str(server.journal.events())
    assert token not in "".join(server.output.all())


async def test_sends_accept_headers(server: Server) -> None:
    """Headers given to `accept()` are in the response, one as often as it was given."""
    async with server.connect(f"/ws/headers/{new_key()}/") as websocket:
        assert websocket.response is not None
        headers = websocket.response.headers
        assert headers["X-Room"] == "lobby"
        assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]


async def upgrades_with_cookie(server: Server, size: int) -> None:
    """Open a websocket with a Cookie header of so many bytes, and use it."""
    cookie = {"Cookie": "long=".ljust(size, "x")}
    path = f"/ws/echo/{new_key()}/"
    async with server.connect(path, additional_headers=cookie, open_timeout=SOON) as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"


async def test_a_cookie_of_9_kb(server: Server) -> None:
    """A user with many cookies gets a websocket, as they get a page."""
    await upgrades_with_cookie(server, 9_000)


async def test_a_cookie_of_20_kb(server: Server) -> None:
    """So does one with more than browsers keep for most sites."""
    await upgrades_with_cookie(server, 20_000)


@pytest.mark.parametrize("name", ["uvicorn-websockets", "uvicorn-sansio"])
async def test_a_longer_line(name: str, tmp_path: Path) -> None:
    """The variable that the documentation names is the remedy where 8 KiB are the limit."""
    with running(name, tmp_path, WEBSOCKETS_MAX_LINE_LENGTH="65536") as server:
        await upgrades_with_cookie(server, 20_000)


async def test_rejects_with_status(server: Server) -> None:
    """The status given to `reject()` is the response's, and `disconnect()` does not run."""
    key = new_key()
    assert (await denied(server, f"/ws/reject/{key}/")).status_code == 451
    assert (await server.ended(key)).names == ["end"]


async def test_rejects_with_headers(server: Server) -> None:
    """Headers given to `reject()` are in the response."""
    assert (await denied(server, f"/ws/reject/{new_key()}/")).headers["X-Why"] == "law"


async def test_rejects_with_body(server: Server) -> None:
    """The body given to `reject()` is the response's."""
    assert (await denied(server, f"/ws/reject/{new_key()}/")).body == b"not in this country"


@pytest.mark.parametrize("path", ["/ws/reject/", "/nowhere/"])
async def test_a_denial_is_no_error(server: Server, path: str) -> None:
    """The server logs nothing about an application that denies a handshake."""
    before = len(server.output.all())
    key = new_key()
    await denied(server, f"{path}{key}/")
    await server.ended(key)

    def complains(lines: list[str]) -> bool:
        return any("ERROR" in line or "without completing" in line for line in lines[before:])

    assert not await asyncio.to_thread(server.output.wait, complains, QUIET)


async def test_permission_denied_is_403(server: Server) -> None:
    """`PermissionDenied` from `connect()` denies the handshake as it would a view's request."""
    key = new_key()
    assert (await denied(server, f"/ws/denied/{key}/")).status_code == 403
    assert (await server.ended(key)).names == ["end"]


async def test_http404_is_404(server: Server) -> None:
    """`Http404` from `connect()` denies the handshake as it would a view's request."""
    key = new_key()
    assert (await denied(server, f"/ws/missing/{key}/")).status_code == 404
    assert (await server.ended(key)).names == ["end"]


async def test_no_route_is_404(server: Server) -> None:
    """A path that no pattern matches is a quiet 404."""
    key = new_key()
    assert (await denied(server, f"/nowhere/{key}/")).status_code == 404
    assert (await server.ended(key)).names == ["end"]
    assert not any("Traceback" in record["text"] for record in server.journal.logged(key))


async def test_a_plain_view_is_404(server: Server) -> None:
    """An ordinary view at the path is not a consumer, and never runs for a websocket."""
    key = new_key()
    assert (await denied(server, f"/plain/{key}/")).status_code == 404
    assert (await server.ended(key)).names == ["end"]


async def test_a_plain_view_answers_http(server: Server) -> None:
    """The same view answers an HTTP request."""
    key = new_key()
    assert await asyncio.to_thread(http_get, server, f"/plain/{key}/") == (200, b"plain")
    assert server.journal.story(key).names == ["view ran"]


async def test_http_to_a_consumer_is_426(server: Server) -> None:
    """An HTTP request to a consumer's path is told to upgrade, and no consumer is made."""
    key = new_key()
    status, _ = await asyncio.to_thread(http_get, server, f"/ws/echo/{key}/")
    assert status == 426
    assert server.journal.story(key).names == []


STATUSES = {"chunked": 403, "101": 500, "103": 500}
"""What becomes of an answer that can't be sent as it is."""


@pytest.mark.parametrize("how", ["101", "103", "200", "204", "205", "304", "chunked"])
async def test_an_answer_of_middleware_is_a_legal_denial(server: Server, how: str) -> None:
    """Middleware may answer what no handshake can: the client gets one legal response, and soon."""
    key = new_key()
    before = len(server.output.all())
    status, headers, body = await asyncio.to_thread(raw_denial, server, f"/answers/{how}/{key}/")
    assert status == (STATUSES[how] if how in STATUSES else int(how))
    assert "transfer-encoding" not in headers
    # Uvicorn's websockets adds a length to all that have none.
    assert headers.get("content-length", "0") == str(len(body))
    assert body == (b"maybe" if how in {"200", "chunked"} else b"")
    assert (await server.ended(key)).how("end") == "returned"
    assert not any("Traceback" in line for line in server.output.all()[before:])


async def test_many_denials_at_once(server: Server) -> None:
    """Denials and connections do not get in each other's way."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        paths = [f"/ws/reject/{new_key()}/" for _ in range(20)]
        responses = await asyncio.gather(*(denied(server, path) for path in paths))
        assert {response.status_code for response in responses} == {451}
        await websocket.send("still here")
        assert await websocket.recv() == "still here"
