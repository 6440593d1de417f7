"""A middleware that answers by itself, in ways that no handshake can be answered as they are."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

PREFIX = "/answers/"


def answering(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer `/answers/<status>/...` with that status, and `/answers/chunked/...` in chunks."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(PREFIX):
            return get_response(request)
        how = request.path.removeprefix(PREFIX).partition("/")[0]
        if how == "chunked":
            headers = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
            return HttpResponse(b"maybe", status=403, headers=headers)
        return HttpResponse(b"maybe", status=int(how))

    return middleware
