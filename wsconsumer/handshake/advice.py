"""
Why a handshake was refused, in terms of what came: the part that differs, and what puts it right.

Most refusals of a site's own pages are a proxy's doing: it replaced the Host, lost its port, or did
not say that the client came by https. To trust one more origin or host would only hide that.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from ..escaping import escape
from ..origins import ANY, DEFAULT_PORTS, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.exceptions import DisallowedHost

    from ..origins import Pattern
    from .request import WebsocketRequest

KEEP_THE_HOST: Final = (
    "let the proxy pass on the Host that it got (nginx: proxy_set_header Host $http_host)"
)
ELSE_TRUST: Final = "; if it is another that you trust, name it in WSCONSUMER['ALLOWED_ORIGINS']"
OR_TRUST_THE_PROXY: Final = ", or set USE_X_FORWARDED_HOST if the proxy always sets that header"


def explain_origin(request: WebsocketRequest, origin: Origin, trusted: Iterable[Pattern]) -> str:
    """Return in what an origin that was refused differs from the host, or from what is trusted."""
    subject = f"the Origin '{escape(request.META['HTTP_ORIGIN'])}'"
    host = request.get_host()
    if origin.scheme in DEFAULT_PORTS:
        own = Origin.parse(f"{origin.scheme}://{host}")
        if own is not None and own.host == origin.host:
            return f"{subject} has this host, {_explain_scheme_or_port(request, origin)}"
        if split_domain_port(_forwarded_host(request).lower())[0] == origin.host:
            return (
                f"{subject} has another host than the Host header, '{escape(host)}', but "
                f"X-Forwarded-Host has it: {KEEP_THE_HOST}{OR_TRUST_THE_PROXY}"
            )
        if _is_internal(host) and not _is_internal(origin.host):
            return (
                f"{subject} has another host than the Host header, '{escape(host)}'. If it is this "
                f"site, {KEEP_THE_HOST}{ELSE_TRUST}"
            )
    for pattern in trusted:
        if pattern._replace(scheme=ANY, port=ANY).matches(origin):
            part = "port" if pattern.scheme == origin.scheme else "scheme"
            return f"{subject} has another {part} than the origin of that host that is trusted"
    return (
        f"{subject} is neither this host, '{escape(host)}', nor in CSRF_TRUSTED_ORIGINS or "
        'WSCONSUMER["ALLOWED_ORIGINS"]'
    )


def _explain_scheme_or_port(request: WebsocketRequest, origin: Origin) -> str:
    if request.is_secure() and origin.scheme != "https":
        says = f", says {header_name(header)}" if (header := secure_header(request)) else ""
        return f"but another scheme: it came by http, and this request by https{says}"
    if port := split_domain_port(request.get_host())[1]:
        return (
            f"but another port than the Host header, which has {port}. If it is this site, "
            f"{KEEP_THE_HOST}{ELSE_TRUST}"
        )
    return f"but a port, which the Host header lacks: {KEEP_THE_HOST}, and not $host"


def explain_host(request: WebsocketRequest, error: DisallowedHost) -> str:
    """Return why a host is refused, and what a proxy has to do with it."""
    subject = f"the Host '{escape(request.META.get('HTTP_HOST', ''))}' is not allowed"
    if not settings.USE_X_FORWARDED_HOST and _is_allowed(_forwarded_host(request)):
        return f"{subject}, but that in X-Forwarded-Host is: {KEEP_THE_HOST}{OR_TRUST_THE_PROXY}"
    origin = Origin.parse(request.META.get("HTTP_ORIGIN", ""))
    if origin is not None and _is_allowed(origin.host):
        return (
            f"{subject}, but that of the Origin, '{escape(origin.host)}', is: "
            f"if this is the same site, {KEEP_THE_HOST}"
        )
    return f"{escape(error)} If a proxy stands in between, {KEEP_THE_HOST}"


def _forwarded_host(request: WebsocketRequest) -> str:
    """Return what a proxy says that the Host was, or an empty string."""
    host: str = request.META.get("HTTP_X_FORWARDED_HOST", "").partition(",")[0].strip()
    return host


def secure_header(request: WebsocketRequest) -> str | None:
    """Return the name of the header that tells how the client came, if it is set and was sent."""
    name, _ = settings.SECURE_PROXY_SSL_HEADER or ("", "")
    return name if name in request.META else None


def header_name(meta: str) -> str:
    """Return a header's name as it is written in HTTP."""
    return meta.removeprefix("HTTP_").replace("_", "-").title()


def _is_allowed(host: str) -> bool:
    domain, _ = split_domain_port(host)
    allowed: bool = validate_host(domain, settings.ALLOWED_HOSTS)
    return domain != "" and allowed


def _is_internal(host: str) -> bool:
    """Return whether this is how one server names another, rather than a visitor a site."""
    domain, _ = split_domain_port(host)
    try:
        return ip_address(domain.strip("[]")).is_private
    except ValueError:
        return "." not in domain
