"""``origins.py``: what an entry of a setting stands for, and what to write instead of others."""

from __future__ import annotations

import pytest

from wsconsumer.origins import Origin, Pattern, find_problem

MEANT = [
    ("*", "null"),
    ("*", "file://"),
    ("*", "https://example.com"),
    ("null", "null"),
    ("file://", "file://"),
    ("FILE://", "file://"),
    ("http://localhost:*", "http://localhost:5173"),
    ("https://*.example.com:*", "https://a.example.com:8443"),
    ("chrome-extension://*", "chrome-extension://abcdefghijklmnop"),
    ("capacitor://localhost", "capacitor://localhost"),
    ("https://*.example.com", "https://a.example.com"),
    ("https://example.com:443", "https://example.com"),
    ("http://[::1]:8000", "http://[::1]:8000"),
    ("HTTPS://Example.COM", "https://example.com"),
]

WRONG = [
    ("https://example.com/", 'Write "https://example.com".'),
    ("https://example.com/chat?a#b", 'Write "https://example.com".'),
    ("https://*.example.com/", 'Write "https://*.example.com".'),
    ("example.com", 'Write "https://example.com".'),
    ("localhost:*", 'Write "https://localhost:*".'),
    (" https://example.com ", 'Write "https://example.com".'),
    ("wss://example.com", 'Write "https://example.com".'),
    ("ws://localhost:8000/ws/", 'Write "http://localhost:8000".'),
    ("ws://*", 'Write "*" for any origin'),
    ("https://*", 'Write "*" for any origin'),
    ("https://b\u00fccher.example", 'Write "https://xn--bcher-kva.example".'),
    ("https://" + "\u00fc" * 70 + ".example", "Write scheme, host and port as browsers do"),
    ("file://*", 'Write "file://".'),
    ("file:///index.html", 'Write "file://".'),
    ("file://host", 'Write "file://".'),
    ("http://[0:0:0:0:0:0:0:1]:8000", 'Write "http://[::1]:8000".'),
    ("http://[1:2]", "Write scheme, host and port as browsers do"),
    ("https://exa mple.com", "Write scheme, host and port as browsers do"),
    ("https://example.com:99999x", "Write scheme, host and port as browsers do"),
    ("https://example.com:99999", "Write scheme, host and port as browsers do"),
    ("https://example.com:080", "Write scheme, host and port as browsers do"),
    ("https://a.com,https://b.com", "Write scheme, host and port as browsers do"),
    ("https://ann@example.com", "Write scheme, host and port as browsers do"),
    ("a b://*", 'Write "*" for any origin'),
    ("https://", "Write scheme, host and port as browsers do"),
    ("", "Write scheme, host and port as browsers do"),
]


@pytest.mark.parametrize(("entry", "text"), MEANT)
def test_entries(entry: str, text: str) -> None:
    """What can be named is let in by its name."""
    origin = Origin.parse(text)
    assert origin is not None
    assert find_problem(entry) is None
    assert Pattern.parse(entry).matches(origin)


@pytest.mark.parametrize(("entry", "advice"), WRONG)
def test_entries_that_match_nothing(entry: str, advice: str) -> None:
    """An entry that no browser's Origin can match says what to write instead."""
    problem = find_problem(entry)
    assert problem is not None
    assert problem.startswith(advice)


def test_a_star_is_a_name_of_its_own() -> None:
    """A special entry lets in nothing but what it says."""
    for entry in ("null", "file://", "http://localhost:*", "chrome-extension://*"):
        assert not Pattern.parse(entry).matches(Origin("https", "example.com", "443"))
