"""JSON-RPC with streaming, and its client: rpc/static/rpc/rpc.js."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from tests.cookbook.browsing import until, visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer
    from wsconsumer.test.websocket import Websocket

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<script type="module">
import { Rpc } from "/static/rpc/rpc.js";
window.rpc = new Rpc("/ws/rpc/");
</script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}


@pytest.fixture
async def ws(loaded: Project, ada: User, websocket_client: WebsocketClient) -> AsyncIterator[Any]:
    """A connection of a user's."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect("/ws/rpc/") as ws:
        yield ws


@pytest.fixture
def ada(loaded: Project) -> User:
    """A user."""
    return User.objects.create_user("ada")


def request(method: str, **more: Any) -> dict[str, Any]:
    """Return a request, with the id 7 unless said otherwise."""
    return {"jsonrpc": "2.0", "id": 7, "method": method, **more}


async def answer(ws: Websocket) -> Any:
    """Return what comes, without what all of it has."""
    content = await ws.receive_json()
    assert content.pop("jsonrpc") == "2.0"
    return content


async def test_a_result(ws: Websocket) -> None:
    """A request is answered with the result, under its id."""
    await ws.send_json(request("divide", params={"dividend": 1, "divisor": 4}, id="a"))
    assert await answer(ws) == {"id": "a", "result": 0.25}


@pytest.mark.parametrize(
    ("content", "key", "code"),
    [
        (request("divide", params={"dividend": 1, "divisor": 0}), 7, 1),
        (request("divide", params={"dividend": "one", "divisor": 1}), 7, -32602),
        (request("divide"), 7, -32602),
        (request("receive"), 7, -32601),
        (request("divide", params=[1, 2]), None, -32600),
        (request("divide", jsonrpc="1.0"), None, -32600),
        ([request("divide")], None, -32600),
        ("divide", None, -32600),
    ],
    ids=["own", "type", "missing", "unknown", "by position", "version", "batch", "text"],
)
async def test_an_error(ws: Websocket, content: object, key: int | None, code: int) -> None:
    """What can't be answered gets the error of the specification; the socket stays."""
    await ws.send_json(content)
    failure = await answer(ws)
    assert (failure["id"], failure["error"]["code"]) == (key, code)
    await test_a_result(ws)


async def test_what_is_not_json(ws: Websocket) -> None:
    """It is a parse error, and the socket stays."""
    await ws.send("{")
    assert (await answer(ws))["error"]["code"] == -32700
    await test_a_result(ws)


async def test_a_bug(
    ws: Websocket,
    loaded: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A method that raises is logged; the client learns no more than that it failed."""
    rpc = loaded.module("rpc.consumers")

    async def bug(consumer: object, params: Any) -> None:
        raise KeyError("secret")

    methods = {"bug": (bug, dict)}
    monkeypatch.setattr(rpc.CalculatorConsumer, "methods", methods)
    await ws.send_json(request("bug"))
    assert await answer(ws) == {"id": 7, "error": {"code": -32603, "message": "Internal error"}}
    assert "KeyError: 'secret'" in caplog.text


async def test_a_notification(ws: Websocket) -> None:
    """It gets no answer, be it carried out or not."""
    for method in ("divide", "nothing"):
        await ws.send_json({"jsonrpc": "2.0", "method": method})
    await ws.settle()
    await test_a_result(ws)


async def test_a_stream(ws: Websocket) -> None:
    """Items come as notifications, other answers between them, and the result at the end."""
    await ws.send_json(request("count", params={"to": 2, "seconds": 60}))
    items = [{"method": "stream", "params": {"id": 7, "item": n}} for n in range(2)]
    assert await answer(ws) == items[0]
    await test_a_result(ws)
    await ws.advance(60)
    assert await answer(ws) == items[1]
    await ws.advance(60)
    assert await answer(ws) == {"id": 7, "result": None}


async def test_cancel(ws: Websocket) -> None:
    """A cancelled request is answered with an error, once, and its id is free again."""
    await ws.send_json(request("count", params={"to": 2, "seconds": 60}))
    await answer(ws)
    for _ in range(2):
        await ws.send_json({"jsonrpc": "2.0", "method": "cancel", "params": {"id": 7}})
    assert (await answer(ws))["error"]["code"] == -32800
    await ws.send_json(request("divide", params={"dividend": 1, "divisor": 1}))
    assert await answer(ws) == {"id": 7, "result": 1.0}


async def test_too_many(ws: Websocket) -> None:
    """More than the limit are refused, and so is an id that is still in use."""
    for number in range(16):
        await ws.send_json(request("count", params={"to": 1, "seconds": 60}, id=number))
        assert (await answer(ws))["params"]["id"] == number
    for key in (16, 3):
        await ws.send_json(request("count", params={"to": 1}, id=key))
        failure = await answer(ws)
        assert (failure["id"], failure["error"]["code"]) == (key, -32000)


def test_in_a_browser(site: LiveServer, browser: Chrome, ada: User) -> None:
    """The client resolves, rejects, streams and cancels."""
    visit(browser, site, "/", ada)
    call = """
        window.story = [];
        const divide = (dividend, divisor) => rpc.call("divide", { dividend, divisor });
        const controller = new AbortController();
        const item = (number) => { story.push(number); controller.abort(); };
        const tell = (error) => story.push(error.message);
        story.push(await divide(1, 2));
        await divide(1, 0).catch(tell);
        const options = { item, signal: controller.signal };
        await rpc.call("count", { to: 2, seconds: 60 }, options).catch(tell);
        dispatchEvent(new Event("pagehide"));
        await divide(1, 2).catch(tell);
    """
    script = f"(async () => {{ {call} }})().catch((error) => story.push(String(error)))"
    until(browser, "return rpc.call('divide', {dividend: 1, divisor: 1}).catch(() => null)", 1)
    browser.execute_script(script)
    expected = [0.5, "Nothing can be divided by zero", 0, "Cancelled", "There is no connection"]
    until(browser, "return window.story", expected)
