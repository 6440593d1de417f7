"""
The recipes that Channels projects have too, beside what they are with Channels.

Each folder of ``channels/`` is an app that does what the recipe does, as its documentation teaches.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User

from tests.cookbook.project import Project, files_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent / "channels"

PORTS: Final = {
    "chat": "chat.md",
    "rooms": "rooms.md",
    "notifications": "notifications.md",
    "jobs": "job.md",
    "rpc": "json-rpc.md",
}
"""The pages of the apps."""

LAYERS: Final = 'CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}'


def files_with_channels(app: str) -> dict[str, str]:
    """Return the Python files of an app, and of the project, with Channels."""
    files = {f"{app}/{file.name}": file.read_text() for file in (HERE / app).glob("*.py")}
    asgi = (HERE / "asgi.py").read_text().replace("from app.", f"from {app}.")
    celery = files_of(PORTS[app]).items() if app == "jobs" else ()
    shared = {
        file: code for file, code in celery if file in ("mysite/__init__.py", "mysite/celery.py")
    }
    return {"mysite/asgi.py": asgi, **shared, **files}


def lines_of_code(source: str) -> int:
    """Count the lines with code on them: not blank, not a comment, not a docstring."""
    strings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            strings.update(range(node.lineno, (node.end_lineno or 0) + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {
        line
        for token in tokens
        if token.type not in silent and token.string
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - strings)


def count(files: dict[str, str]) -> int:
    """Count the lines of code in the Python files of a project, besides its settings."""
    return sum(
        lines_of_code(code)
        for file, code in files.items()
        if file.endswith(".py") and file != "mysite/settings.py"
    )


def test_what_is_counted() -> None:
    """Blank lines, comments and docstrings do not count; a line that is part of a call does."""
    assert lines_of_code('"""A\nmodule."""\n\n# one\nx = f(\n    1,  # two\n)\n') == 3


@pytest.mark.parametrize("app", PORTS)
def test_ours_is_no_longer(app: str) -> None:
    """The recipe has no more lines of code than the same with Channels."""
    assert count(files_of(PORTS[app])) <= count(files_with_channels(app))


@pytest.fixture
def channels(
    request: pytest.FixtureRequest, tmp_path: Path, transactional_db: None
) -> Iterator[Project]:
    """The project with Channels, in this process."""
    app = request.node.name.removeprefix("test_")
    files = {**files_with_channels(app), "mysite/settings.py": LAYERS}
    project = Project(tmp_path / "project", files, installed="channels")
    with project.load():
        yield project


def socket(project: Project, path: str, user: Any, **kwargs: Any) -> WebsocketCommunicator:
    """Return a client of the app's one consumer."""
    (pattern,) = project.module(f"{project.apps[0]}.routing").websocket_urlpatterns
    communicator = WebsocketCommunicator(pattern.callback, path)
    communicator.scope |= {"user": user, "url_route": {"kwargs": kwargs}}
    return communicator


@pytest.fixture
def ada(channels: Project) -> User:
    """A user."""
    return User.objects.create_user("ada")


async def test_chat(channels: Project, ada: User) -> None:
    """The chat with Channels works: what one says, all hear, but for strangers."""
    one, other = (socket(channels, "/ws/chat/attic/", ada, room="attic") for _ in "ab")
    stranger = socket(channels, "/ws/chat/attic/", AnonymousUser(), room="attic")
    assert [(await ws.connect())[0] for ws in (one, other, stranger)] == [True, True, False]
    await one.send_json_to({"type": "say", "text": "hi"})
    said = {"type": "said", "author": "ada", "text": "hi"}
    assert await one.receive_json_from() == await other.receive_json_from() == said
    for ws in (one, other):
        await ws.disconnect()


async def test_rooms(channels: Project, ada: User) -> None:
    """The rooms with Channels work: enter, say, exit, and a refusal."""
    room = await channels.module("rooms.models").Room.objects.acreate(slug="attic")
    await room.members.aadd(ada)
    ws = socket(channels, "/ws/rooms/", ada)
    assert (await ws.connect())[0]
    for room, answer in (
        ("attic", {"type": "ok"}),
        ("vault", {"type": "error", "code": "not_found"}),
    ):
        await ws.send_json_to({"type": "enter", "room": room, "ref": 1})
        assert await ws.receive_json_from() == {**answer, "ref": 1}
    await ws.send_json_to({"type": "say", "room": "attic", "text": "hi"})
    assert (await ws.receive_json_from())["text"] == "hi"
    await ws.send_json_to({"type": "exit", "room": "attic", "ref": 2})
    assert await ws.receive_json_from() == {"type": "ok", "ref": 2}
    await ws.disconnect()


async def test_notifications(channels: Project, ada: User) -> None:
    """The notifications with Channels work: what is unread, and what is read."""
    await channels.module("notifications.models").Notification.objects.acreate(user=ada, text="hi")
    ws = socket(channels, "/ws/notifications/", ada)
    assert (await ws.connect())[0]
    pk = (await ws.receive_json_from())["id"]
    await ws.send_json_to({"type": "read", "id": pk})
    assert await ws.receive_json_from() == {"type": "read", "id": pk}
    await ws.disconnect()


async def test_jobs(channels: Project, ada: User) -> None:
    """The job with Channels works: how it stands, a change, and the cancellation."""
    job = await channels.module("jobs.models").Job.objects.acreate(owner=ada, total=2)
    ws = socket(channels, f"/ws/jobs/{job.pk}/", ada, pk=job.pk)
    assert (await ws.connect())[0]
    assert await ws.receive_json_from() == {"state": "queued", "done": 0, "total": 2}
    await sync_to_async(job.change)(state="running", done=1)
    assert await ws.receive_json_from() == {"state": "running", "done": 1, "total": 2}
    await ws.send_json_to({"type": "cancel"})
    assert (await ws.receive_json_from())["state"] == "cancelled"
    await ws.disconnect()


async def test_rpc(channels: Project, ada: User) -> None:
    """JSON-RPC with Channels works: a result, a stream, and an error."""
    ws = socket(channels, "/ws/rpc/", ada)
    assert (await ws.connect())[0]
    request = {"jsonrpc": "2.0", "id": 7}
    await ws.send_json_to({**request, "method": "count", "params": {"to": 1, "seconds": 0}})
    assert (await ws.receive_json_from())["params"] == {"id": 7, "item": 0}
    assert (await ws.receive_json_from())["result"] is None
    await ws.send_json_to({**request, "method": "nothing"})
    assert (await ws.receive_json_from())["error"]["code"] == -32601
    await ws.disconnect()
