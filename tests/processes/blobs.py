"""Large messages that both ends can make: what arrives is compared with what was sent."""

import json
from typing import Any


def blob(kind: str, size: int) -> Any:
    """Return text, binary or JSON of about this size that no cut or shift leaves as it is."""
    text = "".join(f"{number} é🙂 " for number in range(size // 10))
    if kind == "binary":
        return bytes(range(256)) + text.encode()
    return {"text": text, "numbers": list(range(256))} if kind == "json" else text


def read(kind: str, message: str | bytes) -> Any:
    """Read what a client got."""
    return json.loads(message) if kind == "json" else message
