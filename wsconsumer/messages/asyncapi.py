"""
An AsyncAPI 3.0 document of every message consumer that the URLconf maps.

A channel is a route. An operation is a handler, seen from the server: it receives what clients
send, and its reply is what they are answered with. Events never leave the server, so they are left
out. https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from .examples import example_of
from .mapped import answers, free_name, messages_of, unique
from .schemas import PREFIX, schemas_of
from .types import Cancel, Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .handlers import Handler
    from .mapped import Mapped
    from .schemas import Schema
    from .types import Message

CONTENT_TYPES: Final = {"json": "application/json", "msgpack": "application/msgpack"}

Document = dict[str, Any]


def asyncapi_document(consumers: Sequence[Mapped], title: str, version: str) -> Document:
    """Return the document, of what ``json.dumps()`` takes."""
    return _Writer(consumers).document(title, version)


class _Writer:
    """Writes one document; it knows by which names the messages go."""

    def __init__(self, consumers: Sequence[Mapped]) -> None:
        self._consumers = consumers
        spoken = [(kind, each.codec) for each in consumers for kind in _all_of(each)]
        names, self._schemas = schemas_of(unique(kind for kind, _ in spoken))
        self._names: Mapping[type[Message], str] = names
        self._spoken = list(dict.fromkeys(spoken))

    def document(self, title: str, version: str) -> Document:
        document: Document = {
            "asyncapi": "3.0.0",
            "info": {"title": title, "version": version},
            "defaultContentType": CONTENT_TYPES["json"],
            "channels": {each.key: self._channel(each) for each in self._consumers},
            "operations": self._operations(),
            "components": {
                "messages": {
                    self._key(kind, codec): self._message(kind, codec)
                    for kind, codec in self._spoken
                },
                "schemas": self._schemas,
            },
        }
        if any(each.needs_login for each in self._consumers):
            document["components"]["securitySchemes"] = {"session": _session()}
        return document

    def _key(self, kind: type[Message], codec: str) -> str:
        name = self._names[kind]
        return name if codec == "json" else f"{name}.{codec}"

    def _channel(self, mapped: Mapped) -> Document:
        return {
            "address": mapped.address,
            "title": mapped.consumer.__name__,
            **_description(mapped.consumer),
            "messages": {
                key: {"$ref": f"#/components/messages/{key}"}
                for key in (self._key(kind, mapped.codec) for kind in _all_of(mapped))
            },
            "parameters": {name: {"description": text} for name, text in mapped.parameters.items()},
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        }

    def _message(self, kind: type[Message], codec: str) -> Document:
        name = self._names[kind]
        message: Document = {
            "name": kind.__struct_config__.tag,
            "title": kind.__name__,
            **_description(kind),
            "contentType": CONTENT_TYPES[codec],
            "correlationId": {"location": "$message.payload#/ref"},
            "payload": {"$ref": f"{PREFIX}{name}"},
        }
        examples = self._errors() if kind is Error else [example_of(kind, name, self._schemas)]
        found = [{"payload": example} for example in examples if example is not None]
        return {**message, "examples": found} if found else message

    def _errors(self) -> list[Document]:
        """Return an example of each error that consumers have of their own."""
        codes = {
            code: text for each in self._consumers for code, text in each.interface.errors.items()
        }
        return [{"type": "error", "code": code, "detail": text} for code, text in codes.items()]

    def _operations(self) -> Document:
        operations: Document = {}
        for mapped in self._consumers:
            for name, operation in self._operations_of(mapped):
                operations[free_name(f"{mapped.key}.{name}", operations)] = operation
        return operations

    def _operations_of(self, mapped: Mapped) -> Iterable[tuple[str, Document]]:
        for handler in mapped.requests:
            yield handler.name, self._request(mapped, handler)
        if Cancel in mapped.incoming:
            yield "cancel", self._operation(mapped, "receive", [Cancel])
        yield "sends", self._operation(mapped, "send", [*mapped.interface.sends.values(), Error])

    def _request(self, mapped: Mapped, handler: Handler) -> Document:
        return {
            **self._operation(mapped, "receive", messages_of(handler)),
            **_description(handler.function),
            "reply": {
                "channel": {"$ref": f"#/channels/{mapped.key}"},
                "messages": self._messages(mapped, answers(handler)),
            },
            "x-stream": handler.is_stream,
            **({"x-errors": dict(handler.errors)} if handler.errors else {}),
        }

    def _operation(self, mapped: Mapped, action: str, kinds: Iterable[type[Message]]) -> Document:
        operation = {
            "action": action,
            "channel": {"$ref": f"#/channels/{mapped.key}"},
            "messages": self._messages(mapped, unique(kinds)),
        }
        if mapped.needs_login:
            operation["security"] = [{"$ref": "#/components/securitySchemes/session"}]
        return operation

    def _messages(self, mapped: Mapped, kinds: Iterable[type[Message]]) -> list[Schema]:
        return [
            {"$ref": f"#/channels/{mapped.key}/messages/{self._key(kind, mapped.codec)}"}
            for kind in kinds
        ]


def _all_of(mapped: Mapped) -> list[type[Message]]:
    return unique([*mapped.incoming, *mapped.outgoing])


def _description(documented: Any) -> Document:
    """Return what the docstring says, that of no base class."""
    text = inspect.cleandoc(documented.__doc__ or "")
    return {"description": text} if text else {}


def _session() -> Document:
    return {
        "type": "httpApiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "The session cookie of a user who is logged in.",
    }
