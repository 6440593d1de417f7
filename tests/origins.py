"""Which Origin may open a websocket where: one table, in process and on every server."""

from __future__ import annotations

from typing import Any

ORIGIN_SETTINGS: dict[str, Any] = {
    "CSRF_TRUSTED_ORIGINS": ["https://csrf.net:9000"],
    "WSCONSUMER": {
        "ALLOWED_ORIGINS": [
            "https://app.example.net",
            "https://*.wild.net",
            "capacitor://localhost",
            "https://not a pattern",
        ]
    },
}

ORIGINS = [
    # name, Origin, Host, secure, allowed
    ("missing", None, "example.com", False, True),
    ("own", "http://example.com", "example.com", False, True),
    ("own-port", "http://example.com:8000", "example.com:8000", False, True),
    ("own-default-port", "http://example.com:80", "example.com", False, True),
    ("host-default-port", "http://example.com", "example.com:80", False, True),
    ("own-secure", "https://example.com", "example.com", True, True),
    ("own-secure-port", "https://example.com", "example.com:443", True, True),
    ("tls-ended-by-a-proxy", "https://example.com", "example.com", False, True),
    ("own-case", "HTTP://Example.COM", "example.com", False, True),
    ("host-case", "http://example.com", "EXAMPLE.com", False, True),
    ("own-ipv4", "http://127.0.0.1:8000", "127.0.0.1:8000", False, True),
    ("idn", "http://xn--bcher-kva.example.org", "xn--bcher-kva.example.org", False, True),
    ("insecure-page-on-secure-site", "http://example.com", "example.com", True, False),
    ("other-port", "http://example.com:8001", "example.com:8000", False, False),
    ("other-default-port", "http://example.com", "example.com:8000", False, False),
    ("crossed-default-port", "http://example.com:443", "example.com", False, False),
    ("other-host", "http://evil.com", "example.com", False, False),
    ("suffix", "http://evil-example.com", "example.com", False, False),
    ("suffix-of-ours", "http://example.com.evil.com", "example.com", False, False),
    ("subdomain", "http://sub.example.com", "example.com", False, False),
    ("trailing-dot", "http://example.com.", "example.com", False, False),
    ("idn-unicode", "http://b\u00fccher.example.org", "xn--bcher-kva.example.org", False, False),
    ("null", "null", "example.com", False, False),
    ("empty", "", "example.com", False, False),
    ("no-scheme", "example.com", "example.com", False, False),
    ("other-scheme", "ws://example.com", "example.com", False, False),
    ("file", "file://", "example.com", False, False),
    ("path", "http://example.com/", "example.com", False, False),
    ("user-info", "http://example.com@evil.com", "example.com", False, False),
    ("own-as-user-info", "http://evil.com@example.com", "example.com", False, False),
    ("list", "http://example.com,http://evil.com", "example.com", False, False),
    ("list-with-space", "http://example.com http://evil.com", "example.com", False, False),
    ("space", " http://example.com", "example.com", False, False),
    ("newline", "http://example.com\n", "example.com", False, False),
    ("nul", "http://example.com\x00.evil.com", "example.com", False, False),
    ("tab", "http://exa\tmple.com", "example.com", False, False),
    ("port-not-a-number", "http://example.com:80a", "example.com", False, False),
    ("empty-port", "http://example.com:", "example.com", False, False),
    ("listed", "https://app.example.net", "example.com", False, True),
    ("listed-scheme", "http://app.example.net", "example.com", False, False),
    ("listed-port", "https://app.example.net:8443", "example.com", False, False),
    ("listed-default-port", "https://app.example.net:443", "example.com", False, True),
    ("wildcard", "https://a.wild.net", "example.com", False, True),
    ("wildcard-deep", "https://a.b.wild.net", "example.com", False, True),
    ("wildcard-domain", "https://wild.net", "example.com", False, True),
    ("wildcard-suffix", "https://evilwild.net", "example.com", False, False),
    ("wildcard-scheme", "http://a.wild.net", "example.com", False, False),
    ("wildcard-port", "https://a.wild.net:8443", "example.com", False, False),
    ("trusted-for-csrf", "https://csrf.net:9000", "example.com", False, True),
    ("trusted-for-csrf-port", "https://csrf.net", "example.com", False, False),
    ("app-scheme", "capacitor://localhost", "example.com", False, True),
]
