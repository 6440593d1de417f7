"""The page with a card for each socket."""

import inspect
from typing import Any

from django.views.generic import TemplateView

from . import consumers


class IndexView(TemplateView):
    """A card for each socket. The code on it is read from the consumer, so it is what runs."""

    template_name = "demo/index.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            ping_source=inspect.getsource(consumers.PingConsumer),
            echo_source=inspect.getsource(consumers.EchoConsumer),
            clock_source=inspect.getsource(consumers.ClockConsumer),
            **kwargs,
        )
