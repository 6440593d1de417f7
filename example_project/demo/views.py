"""The page with a card for each socket."""

import inspect
from pathlib import Path
from typing import Any, NamedTuple, Self

from django.urls import reverse
from django.views.generic import TemplateView

from wsconsumer import WebsocketConsumer

from . import consumers

URLS = Path(__file__).with_name("urls.py")


class Card(NamedTuple):
    """One socket on the page. Its code is read from the files, so it is the code that runs."""

    name: str
    path: str
    code: str
    route: str

    @classmethod
    def of(cls, name: str, consumer: type[WebsocketConsumer]) -> Self:
        lines = URLS.read_text().splitlines()
        route = next(line.strip() for line in lines if f'name="{name}"' in line)
        return cls(name, reverse(f"demo:{name}"), inspect.getsource(consumer), route)

    @property
    def template(self) -> str:
        return f"demo/cards/{self.name}.html"


class IndexView(TemplateView):
    """A card for each socket, simplest first."""

    template_name = "demo/index.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        cards = [
            Card.of("ping", consumers.PingConsumer),
            Card.of("echo", consumers.EchoConsumer),
            Card.of("clock", consumers.ClockConsumer),
            Card.of("greeting", consumers.GreetingConsumer),
            Card.of("members", consumers.MembersConsumer),
        ]
        return super().get_context_data(cards=cards, **kwargs)
