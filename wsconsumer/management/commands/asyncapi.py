"""``manage.py asyncapi``: an AsyncAPI document of the message consumers in the URLconf."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand

from wsconsumer.messages.asyncapi import asyncapi_document
from wsconsumer.messages.mapped import mapped_consumers

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Prints an AsyncAPI 3.0 document, in JSON, of every MessageConsumer in the URLconf."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--title", help="By default the project's package.")
        parser.add_argument("--api-version", default="1", help="The version of your messages.")

    def handle(self, *args: Any, **options: Any) -> None:
        consumers = mapped_consumers()
        title = options["title"] or settings.ROOT_URLCONF.partition(".")[0]
        document = asyncapi_document(consumers, title, options["api_version"])
        self.stdout.write(json.dumps(document, indent=2))
        if not consumers:
            self.stderr.write("No MessageConsumer is mapped: path(..., X.as_view()).")
