"""``manage.py websocket_types``: TypeScript declarations of the messages in the URLconf."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from wsconsumer.messages.mapped import mapped_consumers
from wsconsumer.messages.typescript import typescript_declarations


class Command(BaseCommand):
    help = "Prints TypeScript declarations of every MessageConsumer in the URLconf."

    def handle(self, *args: Any, **options: Any) -> None:
        consumers = mapped_consumers()
        self.stdout.write(typescript_declarations(consumers), ending="")
        if not consumers:
            self.stderr.write("No MessageConsumer is mapped: path(..., X.as_view()).")
