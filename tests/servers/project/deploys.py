"""What is in the middle of something when its server is asked to stop, until the test says go."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from tests.servers.project.consumers import Observed
from tests.servers.project.journal import note

View = Callable[..., HttpResponseBase]

PATIENCE = 20.0
"""Seconds after which nobody will say go any more."""

_gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def waiting(view: View) -> View:
    """Let the handshake wait before the view answers."""

    @wraps(view)
    def waiting_view(request: HttpRequest, key: str) -> HttpResponseBase:
        note(key, "handshake began")
        _gates[key].wait(PATIENCE)
        return view(request, key=key)

    return waiting_view


class DecidesLater(Observed):
    """Wait in `connect()`."""

    async def connect(self) -> None:
        await super().connect()
        await asyncio.to_thread(_gates[self.kwargs["key"]].wait, PATIENCE)


def go(request: HttpRequest, key: str) -> HttpResponse:
    """Let what has this key go on."""
    _gates[key].set()
    return HttpResponse("gone on")


@csrf_exempt
def busy(request: HttpRequest, key: str) -> HttpResponse:
    """A page that has its own reason to answer 503."""
    note(key, f"{request.method} came")
    response = HttpResponse("come back later", status=503)
    vars(response)["_has_been_logged"] = True  # or Django mails it
    return response


def long(request: HttpRequest, key: str) -> HttpResponse:
    """A page that takes a second."""
    note(key, "page began")
    _gates[key].wait(1)
    return HttpResponse("at last")
