"""The site of the stress: a page, its socket, and views that say something."""

import json
import os
import random
import time
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.generic import TemplateView

from tests.groups.mutants import install
from tests.processes.kept.saying import asay, say, what_is_said
from wsconsumer import Group, WebsocketConsumer
from wsconsumer.groups import readings
from wsconsumer.live import LiveView

readings.LOOK_EVERY = 1.0  # type: ignore[misc]  # the stress can't wait for a minute

install(os.environ["MUTANT"])

ROOMS = ("room.a", "room.b")

Group("room.{slug}", keep=50)


class Member(WebsocketConsumer):
    """Is in both rooms."""

    async def connect(self) -> None:
        for room in ROOMS:
            await self.join(room)


class Rendered(LiveView, TemplateView):
    """The page: where the rooms stand, and then what was said there."""

    live_groups = ROOMS

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        _take_some_time()
        said = what_is_said()
        _take_some_time()
        return super().get_context_data(said=said, **kwargs)

    def render_to_response(self, context: dict[str, Any], **_: Any) -> HttpResponse:
        return JsonResponse({"live": context["live"], "said": context["said"]})


def _take_some_time() -> None:
    time.sleep(random.random() / 100)  # noqa: S311  # some pages read more


def say_it(request: HttpRequest) -> JsonResponse:
    """Do the order in the body."""
    return JsonResponse({"done": say(json.loads(request.body))})


async def asay_it(request: HttpRequest) -> JsonResponse:
    """Do the order in the body, in the event loop."""
    return JsonResponse({"done": await asay(json.loads(request.body))})


urlpatterns = [
    path("page/", Rendered.as_view()),
    path("say/", say_it),
    path("asay/", asay_it),
    path("ws/", Member.as_view()),
]
