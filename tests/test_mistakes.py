"""A beginner's mistakes, each held to what it is told: nothing that goes wrong stays silent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.mixins import (
    LoginRequiredMixin,
    PermissionRequiredMixin,
    UserPassesTestMixin,
)
from django.http import HttpResponseForbidden
from django.utils.decorators import method_decorator
from django.views import View
from django.views.generic import TemplateView

from tests.fakes import DENIAL, run
from wsconsumer import WebsocketConsumer
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Callable

# Told when the class is made, or mapped


async def coroutine(self: Any, *args: Any) -> None: ...


class Joining:
    """A mixin with a hook, which calls the next one."""

    async def connect(self) -> None:
        await super().connect()  # type: ignore[misc]  # a mixin


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
}


@pytest.mark.parametrize(("mistake", "message"), CLASSES.values(), ids=CLASSES)
def test_a_class_that_can_not_work(mistake: Callable[[], object], message: str) -> None:
    """It is refused with what to write instead."""
    with pytest.raises(TypeError, match=message):
        mistake()


def test_a_class_that_calls_each_hook_of_its_bases() -> None:
    """A hook behind the consumer is fine where the class has one of its own, which may call it."""
    make(WebsocketConsumer, Joining, connect=coroutine)


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
