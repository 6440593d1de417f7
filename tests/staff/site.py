"""A site with the admin, the page for staff, and a socket."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.test import modify_settings, override_settings
from django.urls import path

from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


class Room(WebsocketConsumer):
    """Joins the group that its client names."""

    async def receive(self, data: str | bytes) -> None:
        await self.join(str(data))


class Urls:
    """The URLconf, which imports the page only where the admin is installed."""

    @property
    def urlpatterns(self) -> list[Any]:
        """What is mapped."""
        from django.contrib import admin  # it is not installed in other tests
        from django.urls import include  # beside it

        return [
            path("admin/websockets/", include("wsconsumer.staff")),
            path("admin/", admin.site.urls),
            path("ws/room/<str:name>/", Room.as_view()),
        ]


urls = Urls()


@contextmanager
def installed(urlconf: object = urls) -> Iterator[None]:
    """Install the admin and the page while the block runs."""
    apps = ["django.contrib.admin", "django.contrib.staticfiles"]
    with (
        modify_settings(INSTALLED_APPS={"append": apps}),
        override_settings(ROOT_URLCONF=urlconf, TEMPLATES=TEMPLATES),
    ):
        yield
