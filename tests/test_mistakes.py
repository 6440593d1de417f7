"""A beginner's mistakes, each held to what it is told: nothing that goes wrong stays silent."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import (
    LoginRequiredMixin,
    PermissionRequiredMixin,
    UserPassesTestMixin,
)
from django.contrib.auth.models import User
from django.db import transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponseForbidden,
    HttpResponseNotModified,
    HttpResponseRedirect,
)
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.generic import TemplateView

from tests.fakes import DENIAL, disconnect, run, scope, text
from wsconsumer import (
    Group,
    InvalidState,
    JsonWebsocketConsumer,
    WebsocketConsumer,
    asgi_view,
    broadcast,
    serving,
)
from wsconsumer.asgi import WebsocketDispatcher, get_asgi_application
from wsconsumer.decorators import authenticate_with
from wsconsumer.groups import declared
from wsconsumer.handshake.lost_upgrade import throttle
from wsconsumer.handshake.request import WebsocketRequest
from wsconsumer.handshake.views import mark
from wsconsumer.messages import Message, MessageConsumer, on
from wsconsumer.test import WebsocketClient, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from django.core.handlers.asgi import ASGIRequest
    from django.core.handlers.wsgi import WSGIRequest

# Told when the class is made, or mapped


async def coroutine(self: Any, *args: Any) -> None: ...


async def generator(self: Any, data: Any) -> AsyncIterator[Any]:
    yield data


class Joining:
    """A mixin with a hook, which calls the next one."""

    async def connect(self) -> None:
        await super().connect()  # type: ignore[misc]  # a mixin


def coroutine_of_its_own() -> Any:
    """Return a new coroutine function, which a decorator may mark."""

    async def say(self: Any, message: Any) -> None: ...

    return say


def a_group() -> Group:
    """Return a declared group, of this call alone."""
    with declared.only():
        return Group("mistake.{slug}")


def make(*bases: type, **members: Any) -> Any:
    """Return a class ``Chat`` of these bases, else of ``WebsocketConsumer``."""
    return type("Chat", bases or (WebsocketConsumer,), members)


CLASSES: dict[str, tuple[Callable[[], object], str]] = {
    "login-behind": (
        lambda: make(WebsocketConsumer, LoginRequiredMixin),
        r"Chat has LoginRequiredMixin behind the consumer, where its dispatch\(\) never runs\. "
        r"Write `class Chat\(LoginRequiredMixin, WebsocketConsumer\)`: mixins come first\.",
    ),
    "test-behind-a-subclass": (
        lambda: make(make(), UserPassesTestMixin, PermissionRequiredMixin),
        r"Write `class Chat\(UserPassesTestMixin, PermissionRequiredMixin, Chat\)`",
    ),
    "hook-behind": (
        lambda: make(WebsocketConsumer, Joining),
        r"Chat has Joining behind the consumer, where its connect\(\) never runs",
    ),
    "async-dispatch": (
        lambda: make(dispatch=coroutine),
        r"Chat\.dispatch must be a plain function, got a coroutine function\. Write `def dispatch",
    ),
    "async-setup": (lambda: make(setup=coroutine), r"Chat\.setup must be a plain function"),
    "async-test_func": (
        lambda: make(UserPassesTestMixin, WebsocketConsumer, test_func=coroutine),
        r"Chat\.test_func must be a plain function, .* it runs with the handshake, in a thread",
    ),
    "async-has_permission": (
        lambda: make(PermissionRequiredMixin, WebsocketConsumer, has_permission=coroutine),
        r"Chat\.has_permission must be a plain function",
    ),
    "view": (
        lambda: make(WebsocketConsumer, View),
        r"Chat has Django's View among its bases, but a consumer is a view itself\. Leave it out",
    ),
    "template-view": (lambda: make(TemplateView, WebsocketConsumer), r"a consumer is a view itsel"),
    "as_asgi-with-login": (
        lambda: make(LoginRequiredMixin, WebsocketConsumer).as_asgi(),
        r"Chat\.as_asgi\(\) has no handshake, so dispatch\(\) of LoginRequiredMixin would never "
        r"run\. Map Chat\.as_view\(\) in urls\.py",
    ),
    "as_asgi-with-a-decorator": (
        lambda: method_decorator(lambda view: view, name="dispatch")(make()).as_asgi(),
        r"dispatch\(\) of Chat would never run",
    ),
    "recieve": (
        lambda: make(recieve=coroutine),
        r"Chat\.recieve would never be used\. Did you mean receive\?",
    ),
    "receve": (lambda: make(receve=coroutine), "Did you mean receive"),
    "Receive": (
        lambda: make(Receive=coroutine),
        r"Chat\.Receive would never be used\. Did you mean receive\?",
    ),
    "receive_": (
        lambda: make(receive_=coroutine),
        r"Chat\.receive_ would never be used\. Did you mean receive\?",
    ),
    "connects": (lambda: make(connects=coroutine), "Did you mean connect"),
    "connnect": (lambda: make(connnect=coroutine), "Did you mean connect"),
    "outbox_limits": (
        lambda: make(outbox_limits=1),
        r"Chat\.outbox_limits would never be used\. Did you mean outbox_limit\?",
    ),
    "OUTBOX_LIMIT": (lambda: make(OUTBOX_LIMIT=1), "Did you mean outbox_limit"),
    "Receive_json": (
        lambda: make(JsonWebsocketConsumer, Receive_json=coroutine),
        "Did you mean receive_json",
    ),
    "yield": (
        lambda: make(receive=generator),
        r"Chat\.receive must be a coroutine function, but a `yield` in it makes it an async "
        r"generator, which would never run\. Write `async def receive\(self, data\)` without `yi",
    ),
    "yield-in-receive_json": (
        lambda: make(JsonWebsocketConsumer, receive_json=generator),
        r"a `yield` in it .* Write `async def receive_json\(self, content\)` without `yield`",
    ),
    "recceive": (lambda: make(recceive=coroutine), "Did you mean receive"),
    "conect": (lambda: make(conect=coroutine), "Did you mean connect"),
    "disconect": (lambda: make(disconect=coroutine), "Did you mean disconnect"),
    "group_mesage": (lambda: make(group_mesage=coroutine), "Did you mean group_message"),
    "dispach": (lambda: make(dispach=coroutine), "Did you mean dispatch"),
    "max_group": (lambda: make(max_group=5), r"Chat\.max_group would never .* mean max_groups\?"),
    "recieve-of-a-mixin": (
        lambda: make(type("Mixin", (), {"recieve": coroutine}), WebsocketConsumer),
        r"Mixin\.recieve would never be used",
    ),
    "recieve_json": (
        lambda: make(JsonWebsocketConsumer, recieve_json=coroutine),
        "Did you mean receive_json",
    ),
    "receive_json": (
        lambda: make(receive_json=coroutine),
        r"Chat\.receive_json is a hook of Channels, which nothing calls here\. Make it a class of "
        "JsonWebsocketConsumer",
    ),
    "websocket_connect": (
        lambda: make(websocket_connect=coroutine),
        r"Chat\.websocket_connect is a hook of Channels, .* Write `async def connect\(self\)`",
    ),
    "websocket_receive": (
        lambda: make(websocket_receive=coroutine),
        r"Write `async def receive\(self, data\)`",
    ),
    "websocket_disconnect": (
        lambda: make(websocket_disconnect=coroutine),
        r"Write `async def disconnect\(self, code, reason\)`",
    ),
    "encode_json": (
        lambda: make(JsonWebsocketConsumer, encode_json=classmethod(coroutine)),
        r"Chat\.encode_json is a hook of Channels, .* send\(\) encodes Django's types",
    ),
    "groups": (
        lambda: make(groups=["news"]),
        r"Chat\.groups would hide the fact groups of Chat\. Write `await self\.join\(group\)`",
    ),
    "user": (
        lambda: make(user=property(coroutine)),
        r"Chat\.user would hide the fact user of Chat\. .* sets `self\.request\.user`",
    ),
    "kwargs": (
        lambda: make(kwargs={}),
        "would hide the fact kwargs of Chat. It comes from the URL",
    ),
    "send": (
        lambda: make(send=coroutine),
        r"Chat\.send would hide the verb send of Chat\. Give yours another name, and call it",
    ),
    "concurent_limit": (
        lambda: make(MessageConsumer, concurent_limit=5),
        r"Chat\.concurent_limit would never be used\. Did you mean concurrent_limit\?",
    ),
    "invalid_limits": (lambda: make(MessageConsumer, invalid_limits=5), "mean invalid_limit"),
    "authorise": (
        lambda: make(MessageConsumer, authorise=coroutine),
        r"Chat\.authorise would never be used\. Did you mean authorize\?",
    ),
    "on-in-a-plain-consumer": (
        lambda: make(say=on(coroutine_of_its_own())),
        r"Chat\.say is marked with @on, which means nothing here\. Make Chat a class of "
        "MessageConsumer, which reads messages and calls it",
    ),
    "sends-one-class": (
        lambda: make(MessageConsumer, sends=Message),
        r"Chat\.sends must be a list of Message classes, got <class wsconsumer\.messages",
    ),
    "authenticate_with-the-view": (
        lambda: authenticate_with(make().as_view()),
        r"authenticate_with\(\) expects authenticators, got the view itself\. Write "
        r"authenticate_with\(TokenAuthentication\)\(view\)",
    ),
    "broadcast-to-a-template": (
        lambda: broadcast(a_group(), "hi"),  # type: ignore[arg-type]  # the mistake
        r"The name of a group is a str, got <wsconsumer\.groups\.declared\.Group object>\. Call it "
        r"for a name, as in room\(slug='lobby'\)",
    ),
    "close-of-a-mixin": (
        lambda: make(type("Mixin", (), {"close": coroutine}), WebsocketConsumer),
        r"Mixin\.close would hide the verb close of Chat",
    ),
}


@pytest.mark.parametrize(("mistake", "message"), CLASSES.values(), ids=CLASSES)
def test_a_class_that_can_not_work(mistake: Callable[[], object], message: str) -> None:
    """It is refused with what to write instead."""
    with pytest.raises(TypeError, match=message):
        mistake()


def test_a_class_that_calls_each_hook_of_its_bases() -> None:
    """A hook behind the consumer is fine where the class has one of its own, which may call it."""
    make(WebsocketConsumer, Joining, connect=coroutine)


@pytest.mark.parametrize(
    "name",
    ["reconnect", "received", "receiver", "connected", "disconnected", "on_message", "message",
     "path", "session", "group", "groups_of_user", "sender", "send_json", "encode_json", "scopes",
     "_receive", "areceive", "receive2", "receive_text", "Group", "limits", "Recieve"],
)  # fmt: skip
def test_other_names_are_free(name: str) -> None:
    """However near a name is to one of ours, it is the user's if it is more than a slip."""
    make(**{name: coroutine})


def test_what_can_be_no_slip_is_free() -> None:
    """A hook is a function, and a limit is none: other things have names of their own."""
    make(MessageConsumer, authorized=coroutine, authorised=coroutine, invalid_limits=coroutine)
    make(connects=0, receives=[], outbox_limits=coroutine, Connect=type("Connect", (), {}))


def test_names_behind_the_consumer_are_free() -> None:
    """What a mixin behind it has under the name of a verb hides nothing."""
    make(WebsocketConsumer, type("Mixin", (), {"send": coroutine, "state": 1}))


def test_types_of_facts_are_free() -> None:
    """An annotation alone narrows a fact for type checkers, and hides nothing."""
    make(__annotations__={"user": "User", "kwargs": "dict[str, str]"})


# Told in the log, and the client gets 500 or 1011


def answering(answer: Callable[[WebsocketConsumer], object]) -> type[WebsocketConsumer]:
    """Return a consumer whose ``connect()`` returns something."""

    class Chat(WebsocketConsumer):
        async def connect(self) -> Any:
            return answer(self)

    return Chat


ANSWERS: dict[str, tuple[type[WebsocketConsumer], str]] = {
    "response": (
        answering(lambda chat: HttpResponseForbidden()),
        "Chat.connect() must return None, got HttpResponseForbidden. To refuse the connection, "
        "write `await self.reject(403)`, or raise PermissionDenied or Http404.",
    ),
    "false": (answering(lambda chat: False), "Chat.connect() must return None, got False. To ref"),
    "true": (answering(lambda chat: True), "Chat.connect() must return None, got True."),
    "no-await": (
        answering(lambda chat: chat.reject()),
        "Chat.connect() must return None, got the coroutine WebsocketConsumer.reject(), which "
        "never ran. Write `await` before the call.",
    ),
}


@pytest.mark.parametrize(("consumer", "message"), ANSWERS.values(), ids=ANSWERS)
async def test_a_connect_that_answers(
    consumer: type[WebsocketConsumer], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What connect() returns does not decide, so it is an error, and nobody gets in."""
    start, _ = await run(consumer.as_asgi(), **DENIAL)
    assert start["status"] == 500
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert str(record.exc_info[1]).startswith(message)


async def test_a_send_in_disconnect() -> None:
    """It does nothing, since nobody can hear it, and the rest of the hook runs."""
    done = []

    class Chat(WebsocketConsumer):
        async def disconnect(self, code: int, reason: str) -> None:
            await self.send("bye")
            done.append(code)

    async with connect(Chat) as ws:
        await ws.close(1000)
    assert done == [1000]


# Told by a note on the exception


def doing(act: Callable[[Any], Any]) -> type[WebsocketConsumer]:
    """Return a consumer that does something with itself for each message."""

    class Chat(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            answer = act(self)
            if inspect.isawaitable(answer):
                await answer

    return Chat


def setting(name: str) -> Callable[[Any], None]:
    """Return what sets an attribute of a consumer."""
    return lambda chat: setattr(chat, name, {})


def in_a_group(chat: Any) -> Any:
    """Fail beside something else."""

    async def fail() -> None:
        chat.scope["user"]

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))
            tasks.create_task(fail())

    return both()


def no_such_room(chat: Any) -> None:
    """Raise what get_object_or_404() raises."""
    raise Http404("no such room")


NOTES: dict[str, tuple[Callable[[Any], object], str]] = {
    "channel_layer": (
        lambda chat: chat.channel_layer.group_add("news", chat.channel_name),
        "There is no channel layer here: join groups with `await self.join(group)`",
    ),
    "channel_name": (lambda chat: chat.channel_name, "A connection has no name here: join a group"),
    "send_json": (lambda chat: chat.send_json({}), "`await self.send(content)` sends anything but"),
    "login_required": (
        lambda chat: login_required(coroutine)(chat),  # type: ignore[type-var]  # the mistake
        "A decorator of views, such as login_required, goes around as_view(), not around a hook",
    ),
    "session": (lambda chat: chat.session, "It is `self.request.session` here."),
    "scope-user": (lambda chat: chat.scope["user"], 'scope["user"] is `self.user` here.'),
    "scope-user-in-a-task-group": (in_a_group, 'scope["user"] is `self.user` here.'),
    "scope-url_route": (
        lambda chat: chat.scope["url_route"]["kwargs"]["room"],
        'scope["url_route"] is `self.kwargs` here.',
    ),
    "text_data": (
        lambda chat: chat.send(text_data="hello"),
        "send() takes one argument: `await self.send(data)`, where str is text, bytes are binary",
    ),
    "close-with-send": (lambda chat: chat.send("bye", close=True), "`await self.close()` closes."),
    "sync-orm": (
        lambda chat: User.objects.get(pk=1),
        "Write `await Model.objects.aget(...)` and `async for`, or put the work into a function "
        "and call it with `await sync_to_async(function)()`.",
    ),
    "sync-broadcast": (
        lambda chat: broadcast("news", "hello"),
        "or in a consumer `await self.broadcast(...)`.",
    ),
    "async_to_sync": (
        lambda chat: async_to_sync(chat.send)("hello"),
        "A hook is async: `await` the function, without async_to_sync.",
    ),
    "404": (
        no_such_room,
        "Http404 denies a handshake that is not accepted yet, in connect(). Later there is `await "
        "self.close(code, reason)`, with a code in 4000-4999.",
    ),
    "set-state": (
        setting("state"),
        "Chat.state can't be set: it is a fact of the connection. It tells where the connection is "
        "in its life. Give yours another name.",
    ),
    "set-user": (
        setting("user"),
        "Chat.user can't be set: it is a fact of the connection. A consumer that authenticates by "
        "its first message sets `self.request.user`.",
    ),
    "set-groups": (setting("groups"), "Write `await self.join(group)` or `await self.leave(group)"),
    "post": (
        lambda chat: chat.request.POST["word"],
        "request.POST of a websocket is always empty: it begins as a GET. What the page knows comes"
        " in the query string (request.GET), what the user does in messages.",
    ),
    "post-get": (lambda chat: chat.request.POST.get("word"), "request.POST of a websocket is alwa"),
    "post-getlist": (lambda chat: chat.request.POST.getlist("word"), "request.POST of a websocket"),
    "post-in": (lambda chat: "word" in chat.request.POST, "request.POST of a websocket is always"),
}


@pytest.mark.parametrize(("act", "note"), NOTES.values(), ids=NOTES)
async def test_an_error_in_a_hook(
    act: Callable[[Any], object], note: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the exception with what to write instead, and the client gets 1011."""
    messages = await run(doing(act).as_asgi(), text("go"), disconnect())
    assert messages[-1]["code"] == 1011
    [record] = caplog.records
    assert note in logging.Formatter().format(record)


OTHER_ERRORS: dict[str, Callable[[Any], object]] = {
    "key": lambda chat: chat.kwargs["user"],
    "key-of-the-scope": lambda chat: chat.scope["no such"],
    "attribute": lambda chat: chat.no_such,
    "attribute-of-another": lambda chat: chat.request.channel_layer,
    "argument": lambda chat: chat.close(text_data="hello"),
}


@pytest.mark.parametrize("act", OTHER_ERRORS.values(), ids=OTHER_ERRORS)
async def test_an_error_that_speaks_for_itself(
    act: Callable[[Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    """An error that only looks like a known one has no note."""
    await run(doing(act).as_asgi(), text("go"), disconnect())
    [record] = caplog.records
    assert record.exc_info is not None
    assert not hasattr(record.exc_info[1], "__notes__")


async def test_an_error_that_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that is raised twice has its note once."""
    error = Http404("no such room")

    def fail(chat: object) -> None:
        raise error

    for _ in range(2):
        await run(doing(fail).as_asgi(), text("go"), disconnect())
    assert len(error.__notes__) == 1


def reading(name: str) -> type[WebsocketConsumer]:
    """Return a consumer that reads a fact in ``__init__()``."""

    class Chat(WebsocketConsumer):
        def __init__(self, **initkwargs: Any) -> None:
            super().__init__(**initkwargs)
            getattr(self, name)

    return Chat


@pytest.mark.parametrize("name", ["user", "request", "kwargs", "args", "scope", "state"])
async def test_a_fact_in_init(name: str) -> None:
    """The error says when it is there, and how to get it then."""
    with pytest.raises((InvalidState, AttributeError)) as caught:
        await run(reading(name).as_asgi())
    sentence = " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    if name == "state":
        assert "in __init__(), setup() and dispatch() there is only the consumer" in sentence
    else:
        missing = "request" if name == "scope" else name
        assert f"Chat.{missing} is not there yet in __init__(). Use it in a hook, or" in sentence
        assert "`def setup(self, request, *args, **kwargs)` and call super().setup()" in sentence


async def test_another_error_in_init() -> None:
    """An attribute of one's own that is not there is only that."""
    with pytest.raises(AttributeError) as caught:
        await run(reading("room").as_asgi())
    assert not hasattr(caught.value, "__notes__")


def test_post_elsewhere() -> None:
    """Middleware, error mails and error trackers can read request.POST, where no loop runs."""
    request = WebsocketRequest(scope())
    assert request.POST.get("word", "none") == "none"
    assert request.POST.getlist("word") == []
    assert "word" not in request.POST
    assert request.POST.copy().dict() == {}


async def test_post_copied_in_an_event_loop() -> None:
    """So may a log handler that writes error mails, wherever it runs."""
    assert list(WebsocketRequest(scope()).POST.copy().items()) == []


async def test_who_authenticates_by_the_first_message() -> None:
    """sets self.request.user, as the error says, and self.user is that from then on."""

    class Chat(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            self.request.user = User(username=str(data))
            await self.send(self.user.get_username())

    messages = await run(Chat.as_asgi(), text("ada"), disconnect())
    assert messages[1]["text"] == "ada"


# Told in the log, once


@pytest.mark.parametrize("debug", [True, False], ids=["DEBUG", "production"])
async def test_a_message_that_nothing_handles(
    debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A class without receive() says so once: as a warning to those who develop."""

    class Silent(WebsocketConsumer):
        pass

    class SilentJson(JsonWebsocketConsumer):
        pass

    class Calling(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await super().receive(data)

    caplog.set_level(logging.INFO, "wsconsumer")
    with override_settings(DEBUG=debug):
        for consumer in (Silent, Silent, SilentJson, Calling):
            await run(consumer.as_asgi(), text("1"), text("2"), disconnect())
    level = logging.WARNING if debug else logging.INFO
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (
            level,
            "Silent on / ignores a message, and others like it: write `async def receive(self, "
            "data)` to handle them.",
        ),
        (
            level,
            "SilentJson on / ignores a message, and others like it: write `async def receive_json("
            "self, content)` to handle them.",
        ),
    ]


async def test_a_message_that_is_too_big(caplog: pytest.LogCaptureFixture) -> None:
    """The close code 1009 comes from the server, so the line says where its limit is."""
    await run(WebsocketConsumer.as_asgi(), disconnect(1009), path="/ws/")
    [message] = caplog.messages
    assert message.startswith(
        "WebsocketConsumer on /ws/ was closed with 1009: a message was too big"
    )
    assert "uvicorn --ws-max-size" in message


def moved(target: str) -> Any:
    """Return a view that redirects, and is taken for one of ours."""
    return mark(lambda request: HttpResponseRedirect(target), WebsocketConsumer)


urlpatterns = [
    path("ws/slash/", WebsocketConsumer.as_view()),
    path("ws/login/", login_required(WebsocketConsumer.as_view())),
    path("ws/away/", moved("https://example.org/elsewhere/")),
    path("ws/not-modified/", mark(lambda request: HttpResponseNotModified(), WebsocketConsumer)),
]


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("address", "ssl", "line"),
    [
        ("/ws/slash", False, "301: %s to /ws/slash/; its path lacks the slash at the end."),
        (
            "/ws/login/",
            False,
            "302: %s to /accounts/login/; the user is not logged in, or may not do this.",
        ),
        ("/ws/slash/", True, "301: %s to https://testserver/ws/slash/; it has to be secure, so op"),
        ("/ws/away/", False, "302: %s to https://example.org/elsewhere/."),
        ("/ws/not-modified/", False, None),
    ],
    ids=["slash", "login", "ssl", "elsewhere", "no-location"],
)
async def test_a_redirect(
    address: str, ssl: bool, line: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser shows 1006 and a server's log a rejection; ours says where it leads, and why."""
    with override_settings(SECURE_SSL_REDIRECT=ssl):
        async with connect(WebsocketDispatcher(), address) as ws:
            assert ws.denial is not None
    start = f"Refused a websocket on {address} with "
    expected = line and start + line % "a websocket can't follow the redirect"
    assert [message[: len(expected or "")] for message in caplog.messages] == (
        [expected] if expected else []
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [True, False], ids=["DEBUG", "production"])
def test_a_broadcast_in_a_transaction(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Without on_commit it goes out before the commit, which those who develop are told."""
    with override_settings(DEBUG=debug):
        broadcast("news", 1)
        with transaction.atomic():
            broadcast("news", 2, on_commit=True)
            assert not any("in a transaction" in message for message in caplog.messages)
            broadcast("news", 3)
    told = [message for message in caplog.messages if "in a transaction" in message]
    assert bool(told) == debug
    if debug:
        assert told[0].startswith(
            "A broadcast to 'news' in a transaction on 'default' goes out before the commit: "
        )
        assert told[0].endswith("Write broadcast(..., on_commit=True).")


@pytest.mark.django_db
@override_settings(DEBUG=True)
def test_a_broadcast_in_the_transaction_of_a_test(caplog: pytest.LogCaptureFixture) -> None:
    """A test's own transaction is never committed, so it is no reason to wait."""
    broadcast("news", 1)
    assert not any("in a transaction" in message for message in caplog.messages)


@pytest.mark.parametrize("event", ["http.request", "websocket.disconnect", "lifespan.shutdown"])
async def test_serving_begins_with_a_scope(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An imported asgi.py serves nobody: a command that has checked it warns of its broadcasts."""
    monkeypatch.setattr(serving, "_serving", False)
    application = get_asgi_application()
    assert not serving.is_serving()

    events = iter([{"type": event}])

    async def receive() -> Any:
        return next(events, None) or await asyncio.Event().wait()

    async def send(message: Any) -> None: ...

    kind = event.partition(".")[0]
    await application({**scope(path="/none/"), "type": kind, "method": "GET"}, receive, send)
    assert serving.is_serving()


# Told by the test kit


async def opened(opening: Any) -> None:
    """Open a websocket, and close it."""
    async with opening:
        pass


def client() -> Any:
    """Return a client, untyped: type checkers find the mistakes too."""
    return WebsocketClient()


kit: Any = connect
client_class: Any = WebsocketClient

KIT: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "path": (
        lambda: opened(kit("/ws/echo/")),
        TypeError,
        r"connect\(\) expects a consumer class or an ASGI application, got the path '/ws/echo/'\. "
        r"Write connect\(YourConsumer\), or WebsocketClient\(\)\.connect\('/ws/echo/'\) for what",
    ),
    "instance": (
        lambda: opened(kit(make()())),
        TypeError,
        r"connect\(\) expects .*, got an instance\. Write connect\(Chat\)",
    ),
    "view": (
        lambda: opened(kit(make().as_view())),
        TypeError,
        r"got a view\. Write connect\(Chat\), or WebsocketClient\(\)\.connect\(path\) for its URL",
    ),
    "another-class": (
        lambda: opened(kit(TemplateView)),
        TypeError,
        r"got the class TemplateView, which is no WebsocketConsumer\. Write "
        r"connect\(TemplateView\.as_asgi\(\)\) if it has",
    ),
    "nothing-callable": (
        lambda: opened(kit(None)),
        TypeError,
        r"got None\. Write connect\(YourConsumer\)",
    ),
    "kwargs-as-path": (
        lambda: opened(kit(make(), {"room": "attic"})),
        TypeError,
        r"connect\(\) expects the path as a str, got \{'room': 'attic'\}\. What else it takes has",
    ),
    "relative-path": (
        lambda: opened(kit(make(), "ws/echo/")),
        ValueError,
        r"connect\(\) expects a path that begins with a slash, .*, got 'ws/echo/'",
    ),
    "kwargs": (
        lambda: opened(kit(make(), kwargs="attic")),
        TypeError,
        r"connect\(\) expects kwargs as a dict, such as .*, got 'attic'",
    ),
    "argument-misspelt": (
        lambda: kit(make(), header={}),
        TypeError,
        r"connect\(\) has no argument header\. Did you mean headers\?",
    ),
    "argument-of-the-url": (
        lambda: kit(make(), room="attic"),
        TypeError,
        r"connect\(\) has no argument room\. If it is of the URL, write connect\(\.\.\., "
        r"kwargs=\{'room': \.\.\.\}\)",
    ),
    "client-class": (
        lambda: opened(client().connect(make())),
        TypeError,
        r"WebsocketClient\.connect\(\) expects a path of the project, such as '/ws/echo/', got Chat"
        r"\. For one consumer .* write wsconsumer\.test\.connect\(Chat\)",
    ),
    "no-client": (
        lambda: client_class.connect("/ws/echo/"),
        TypeError,
        r"connect\(\) is a method of a client: write WebsocketClient\(\)\.connect\('/ws/echo/'\)",
    ),
    "no-argument": (lambda: kit(), TypeError, r"connect\(\) missing .* argument: 'application'"),
    "client-url": (
        lambda: opened(client().connect("ws://testserver/ws/echo/")),
        ValueError,
        r"WebsocketClient\.connect\(\) expects a path .*, without scheme and host, such as",
    ),
    "client-no-path": (
        lambda: opened(client().connect(None)),
        TypeError,
        r"WebsocketClient\.connect\(\) expects the path as a str, got None",
    ),
    "client-user": (
        lambda: client().connect("/ws/echo/", user=None),
        TypeError,
        r"WebsocketClient\.connect\(\) takes no user: log in first: `await client\.aforce_login\(",
    ),
    "client-kwargs": (
        lambda: client().connect("/ws/echo/", kwargs={}),
        TypeError,
        r"takes no kwargs: the URL's come from its path: client\.connect\('/ws/room/attic/'\)",
    ),
    "client-argument": (
        lambda: client().connect("/ws/echo/", room="attic"),
        TypeError,
        r"WebsocketClient\.connect\(\) has no argument room\. There are path, headers, subpro",
    ),
    "await": (
        lambda: awaiting(kit(make())),
        TypeError,
        r"connect\(\) can't be awaited: write `async with connect\(Chat\) as ws:`",
    ),
    "await-client": (
        lambda: awaiting(client().connect("/ws/echo/")),
        TypeError,
        r"connect\(\) can't be awaited: write `async with client\.connect\('/ws/echo/'\) as ws:`",
    ),
    "with": (
        lambda: entering(kit(make())),
        TypeError,
        r"connect\(\) needs `async with`: write `async with connect\(Chat\) as ws:`",
    ),
    "no-with": (
        lambda: kit(make()).send("hello"),
        AttributeError,
        r"What connect\(\) returns has no send yet: write `async with connect\(Chat\) as ws:`, and",
    ),
    "after-the-block": (
        lambda: using_later("receive"),
        RuntimeError,
        r"This websocket has ended with its block\. Use it inside of `async with connect\(",
    ),
    "advance-after-the-block": (
        lambda: using_later("advance", 1),
        RuntimeError,
        r"Use it inside of `async with connect\(",
    ),
    "no-await": (
        lambda: forgetting("send", "hello"),
        AssertionError,
        r"ws\.send\(\) of this connect\(\) was not awaited: write `await ws\.send\(\.\.\.\)`",
    ),
}


async def awaiting(opening: Any) -> None:
    """Await what is for ``async with``."""
    await opening


def entering(opening: Any) -> None:
    """Enter it as sync code does."""
    with opening:
        pass


async def using_later(verb: str, *args: Any) -> None:
    """Use a websocket after its block."""
    async with connect(make()) as ws:
        pass
    assert ws.accepted
    await getattr(ws, verb)(*args)


async def forgetting(verb: str, *args: Any) -> None:
    """Forget to await a verb."""
    async with connect(make()) as ws:
        getattr(ws, verb)(*args)


@pytest.mark.parametrize(("mistake", "kind", "message"), KIT.values(), ids=KIT)
async def test_a_misuse_of_the_kit(
    mistake: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    """It is told what to write, by the name of ``connect()``."""
    with pytest.raises(kind, match=message):  # noqa: PT012  # sync or async
        answer = mistake()
        if inspect.isawaitable(answer):
            await answer


async def test_a_websocket_that_is_never_opened() -> None:
    """A connect() that nobody enters tests nothing, which Python warns of."""
    with pytest.warns(
        RuntimeWarning, match=r"no websocket was opened: write `async with connect\("
    ):
        kit(make())


async def test_a_verb_that_is_not_awaited() -> None:
    """Where that makes the test fail, the failure has it as a note, or names it as the reason."""
    with pytest.raises(AssertionError, match="this is no text") as caught:  # noqa: PT012
        async with connect(make()) as ws:
            answer: Any = ws.receive()
            assert isinstance(answer, str), "this is no text"
    assert caught.value.__notes__ == [
        "ws.receive() of this connect() was not awaited: write `await ws.receive(...)`."
    ]
    with pytest.raises(AssertionError) as caught:  # noqa: PT012
        async with connect(make()) as ws:
            unsent: Any = ws.send("hello")
            await ws.receive(timeout=0)
    assert f"\nws.{unsent.__name__}() of this connect() was not awaited" in str(caught.value)


async def test_a_verb_that_is_awaited_later() -> None:
    """It is no mistake to call one verb, and to await another first."""
    async with connect(doing(lambda chat: chat.send("answer"))) as ws:
        receiving = ws.receive()
        await ws.send("question")
        assert await receiving == "answer"


# Told where a websocket came as a page


def wsgi(**headers: str) -> WSGIRequest:
    """Return a request that came through WSGI."""
    return RequestFactory().get("/ws/", headers=headers)


def asgi(**headers: str) -> ASGIRequest:
    """Return a request that came through ASGI, as HTTP."""
    return AsyncRequestFactory().get("/ws/", headers=headers)


WHOLE = {"sec_websocket_key": "x", "upgrade": "WebSocket", "connection": "Upgrade"}
PLAIN: dict[str, tuple[HttpRequest, str]] = {
    "wsgi": (
        wsgi(**WHOLE),
        "this server speaks WSGI, which has no websockets. Serve the application of asgi.py with "
        'daphne or uvicorn; for manage.py runserver, put "daphne" first in INSTALLED_APPS',
    ),
    "wsgi-behind-a-proxy": (wsgi(sec_websocket_key="x"), "this server speaks WSGI, which has no"),
    "no-library": (asgi(**WHOLE), "this server lacks a library for websockets (for uvicorn: pip"),
    "proxy": (asgi(sec_websocket_key="x"), "the proxy before this server must pass on (nginx with"),
    "page": (asgi(), ""),
    "page-of-wsgi": (wsgi(), ""),
}


@pytest.mark.parametrize(("request_", "problem"), PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize(
    "view",
    [WebsocketConsumer.as_view(), asgi_view(WebsocketConsumer.as_asgi())],
    ids=["consumer", "asgi_view"],
)
def test_a_websocket_that_came_as_a_page(
    view: Any, request_: HttpRequest, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is 426, and log and body say what is in the way."""
    throttle.reset()
    response = view(request_)
    assert response.status_code == 426
    assert problem in response.content.decode()
    if problem:
        [message] = caplog.messages
        assert message.startswith("A websocket handshake for /ws/ came as a page: ")
        assert problem in message
    else:
        assert caplog.messages == []
