"""
The address of the client behind a request: whatever counts by address asks here.

What ``REMOTE_ADDR`` has depends on the server and the proxy before it (docs/proxies.md). A project
where neither can be told says for itself, in ``WSCONSUMER["CLIENT_ADDRESS"]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

from . import conf

if TYPE_CHECKING:
    from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """
    Return the address that a request came from, or ``None`` if nobody knows it.

    It is unknown behind a proxy that connects by a unix socket, unless the server reads it from a
    header.
    """
    path = conf.get("CLIENT_ADDRESS")
    address = remote_addr(request) if path is None else import_string(path)(request)
    return address or None


def remote_addr(request: HttpRequest) -> str | None:
    """
    Return the ``REMOTE_ADDR`` that the server gives.

    It is what counts by default. Name it in ``WSCONSUMER["CLIENT_ADDRESS"]`` to say that it is
    that of the client, since the server reads it from a header of the proxy.
    """
    address: str | None = request.META.get("REMOTE_ADDR")
    return address
