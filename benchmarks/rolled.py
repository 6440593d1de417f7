"""The site that ``rolling.py`` restarts: a group that keeps, and a page that says who is ready."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from django.conf import settings
from django.urls import path

from wsconsumer import Group, WebsocketConsumer
from wsconsumer.health import ready

GROUP: Final = "all"
KEPT: Final = 10_000
"""Broadcasts that are kept: more than anybody misses."""


def configure(url: str, prefix: str, drain: float) -> None:
    """Let groups be carried by this Redis."""
    groups = {
        "BACKEND": "wsconsumer.groups.redis.RedisBackend",
        "LOCATION": url,
        "PREFIX": prefix,
    }
    settings.configure(
        SECRET_KEY="for a benchmark only",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        WSCONSUMER={"GROUPS": groups, "DRAIN_SECONDS": drain},
    )
    Group(GROUP, keep=KEPT)


class Member(WebsocketConsumer):
    """Belongs to the group, from where its client was."""

    async def connect(self) -> None:
        await self.join(GROUP)


urlpatterns: list[Any] = [path("ws/", Member.as_view()), path("ready/", ready)]


def serve(port: int) -> None:
    """Be a process of the site."""
    import uvicorn

    from wsconsumer.asgi import get_asgi_application

    uvicorn.run(
        get_asgi_application(), host="127.0.0.1", port=port, log_level="error", backlog=4096
    )


if __name__ == "__main__":
    # Under its own name, which is that of the URLconf.
    from benchmarks import rolled

    rolled.configure(os.environ["REDIS"], os.environ["PREFIX"], float(os.environ["DRAIN"]))
    rolled.serve(int(sys.argv[1]))
