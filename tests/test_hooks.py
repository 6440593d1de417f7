"""``hooks.py``: mistakes in a consumer class are told when it is made or mapped."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from asgiref.sync import markcoroutinefunction

from wsconsumer import WebsocketConsumer


def plain(self: Any, *args: Any) -> None: ...


async def agen(self: Any, data: Any) -> Any:
    yield data


@pytest.mark.parametrize("name", ["connect", "receive", "disconnect", "group_message"])
@pytest.mark.parametrize("hook", [plain, agen, None, "text"], ids=["def", "yields", "None", "str"])
def test_a_hook_is_a_coroutine_function(name: str, hook: object) -> None:
    """Anything but an async def is refused when the class is made, with what to write."""
    with pytest.raises(TypeError, match=rf"Chat\.{name} must be .* `async def {name}\(self"):
        type("Chat", (WebsocketConsumer,), {name: hook})


def test_a_mixins_hook_is_checked_too() -> None:
    """A hook that comes from another base class is checked like one's own."""

    class Mixin:
        def receive(self, data: str | bytes) -> None: ...

    with pytest.raises(TypeError, match=r"Chat\.receive must be a coroutine function"):
        type("Chat", (Mixin, WebsocketConsumer), {})


def test_a_hook_takes_its_arguments() -> None:
    """A disconnect() as Channels has it, without a reason, is refused when the class is made."""

    async def hook(self: Any, close_code: int) -> None: ...

    with pytest.raises(TypeError, match=r"called as disconnect\(code, reason\).*Write `async def"):
        type("Chat", (WebsocketConsumer,), {"disconnect": hook})


def test_a_receive_of_channels() -> None:
    """A receive() with both arguments of Channels is refused: the second would never come."""

    async def hook(self: Any, text_data: Any = None, bytes_data: Any = None) -> None: ...

    with pytest.raises(TypeError, match=r"bytes_data.* Write `async def receive\(self, data\)`"):
        type("Chat", (WebsocketConsumer,), {"receive": hook})


def test_a_hook_may_be_decorated() -> None:
    """A wrapper that is marked as a coroutine function is a hook."""

    async def receive(self: Any, data: str | bytes) -> None: ...

    @markcoroutinefunction
    @functools.wraps(receive)
    def wrapper(*args: Any) -> Any:
        return receive(*args)

    type("Chat", (WebsocketConsumer,), {"receive": wrapper})


class Greeter(WebsocketConsumer):
    greeting = "hello"


@pytest.mark.parametrize("function", ["as_view", "as_asgi"])
@pytest.mark.parametrize("name", ["salutation", "receive", "send", "user", "as_view", "request"])
def test_initkwargs_are_attributes_of_the_class(function: str, name: str) -> None:
    """A keyword that the class does not have, or that is a hook, verb or fact, is refused."""
    with pytest.raises(TypeError, match=rf"Greeter\.{function}\(\) got an unexpected .*'{name}'"):
        getattr(Greeter, function)(**{name: 1})


def test_initkwargs_may_be_callables() -> None:
    """An attribute of one's own may be anything, also something callable."""

    class Factory(WebsocketConsumer):
        make = list

    Factory.as_view(make=dict)


@pytest.mark.parametrize("name", ["_wsconsumer", "__call__"])
def test_reserved_names(name: str) -> None:
    """What runs a consumer can't be replaced by accident."""
    with pytest.raises(TypeError, match=f"Mine.{name} is reserved"):
        type("Mine", (WebsocketConsumer,), {name: None})
