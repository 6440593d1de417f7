"""
What the page says of each route: its address, its requests and all messages that they consist of.

Types and bounds are read from the JSON Schemas that AsyncAPI documents have too.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.urls import get_script_prefix

from ...handshake.routes import websocket_routes
from ...handshake.views import names_of
from ..examples import example_of
from ..mapped import answers, mapped_consumers, messages_of, unique
from ..schemas import PREFIX, schemas_of
from ..types import RESERVED, End, Error, Ok, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..handlers import Handler
    from ..mapped import Mapped
    from ..schemas import Schema
    from ..types import Message

BOUNDS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "pattern": "matches {}",
    "minItems": "items ≥ {}",
    "maxItems": "items ≤ {}",
    "minProperties": "entries ≥ {}",
    "maxProperties": "entries ≤ {}",
    "contentEncoding": "{}",
    "format": "{}",
    "description": "{}",
}
"""What is said of the values of a field, by the keyword of its schema."""


class Field(NamedTuple):
    """A field of a message: its name, its type in words, and what else is to be known of it."""

    name: str
    type: str
    is_required: bool
    notes: list[str]


class Kind(NamedTuple):
    """A message, or what messages have in them. ``type`` is empty if it is no message."""

    name: str
    type: str
    text: str
    fields: list[Field]


class Request(NamedTuple):
    """A message that clients may send: an example of it, and what it is answered with."""

    kind: Kind
    text: str
    example: str
    replies: list[str]
    answers_ok: bool
    is_stream: bool
    is_task: bool
    errors: tuple[tuple[str, str], ...]


class Piece(NamedTuple):
    """A piece of an address: text, or a parameter with what it may be."""

    text: str
    parameter: str
    hint: str


class Description(NamedTuple):
    """A route, as the page shows it."""

    key: str
    name: str
    consumer: str
    text: str
    pieces: list[Piece]
    codec: str
    needs_login: bool
    requests: list[Request]
    broadcasts: list[str]
    kinds: list[Kind]


def described_routes() -> list[Description]:
    """Return every route with a ``MessageConsumer``."""
    consumers = mapped_consumers()
    kinds = unique(kind for each in consumers for kind in [*each.incoming, *each.outgoing])
    names, schemas = schemas_of(kinds)
    return [_Describer(mapped, names, schemas).description() for mapped in consumers]


def untyped_routes() -> list[tuple[str, str]]:
    """Return the paths of all other routes, with what serves them."""
    typed = {mapped.path for mapped in mapped_consumers()}
    return [
        (route.path, ".".join(names_of(route.application)))
        for route in websocket_routes()
        if route.path not in typed
    ]


class _Describer:
    """Describes one route, with the names and schemas of all."""

    def __init__(
        self, mapped: Mapped, names: Mapping[type[Message], str], schemas: Mapping[str, Schema]
    ) -> None:
        self._mapped = mapped
        self._names = names
        self._schemas = schemas
        self._texts = {name: _documentation(kind) for kind, name in names.items()}

    def description(self) -> Description:
        mapped = self._mapped
        requests = [
            self._request(handler, kind)
            for handler in mapped.requests
            for kind in messages_of(handler)
        ]
        own = [kind for kind in mapped.outgoing if kind not in RESERVED]
        got = [self._names[kind] for kind in own]
        inner = self._inner([*(request.kind.name for request in requests), *got])
        return Description(
            key=mapped.key,
            name=mapped.name,
            consumer=mapped.consumer.__name__,
            text=_documentation(mapped.consumer),
            pieces=list(_pieces(mapped)),
            codec=mapped.codec,
            needs_login=mapped.needs_login,
            requests=requests,
            broadcasts=[self._names[kind] for kind in mapped.interface.sends.values()],
            kinds=[self._kind(name) for name in dict.fromkeys([*got, *inner])],
        )

    def _request(self, handler: Handler, kind: type[Message]) -> Request:
        name = self._names[kind]
        example = example_of(kind, name, self._schemas) or {"type": tag(kind)}
        replies = [one for one in answers(handler) if one not in (Ok, End, Error)]
        return Request(
            kind=self._kind(name),
            text=_documentation(handler.function),
            example=json.dumps(example, indent=2, ensure_ascii=False),
            replies=[self._names[one] for one in replies],
            answers_ok=handler.answers_ok,
            is_stream=handler.is_stream,
            is_task=handler.is_task,
            errors=handler.errors,
        )

    def _kind(self, name: str) -> Kind:
        schema = self._schemas[name]
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        fields = [
            Field(field, type_of(each), field in required, list(_notes(each)))
            for field, each in properties.items()
            if field not in ("type", "ref") or name not in self._texts
        ]
        is_message = name in self._texts
        return Kind(
            name,
            type=properties["type"]["enum"][0] if is_message else "",
            text=self._texts[name] if is_message else schema.get("description", ""),
            fields=fields,
        )

    def _inner(self, names: Iterable[str]) -> Iterator[str]:
        """Yield what schemas refer to, and what that refers to."""
        waiting, seen = list(names), set(names)
        while waiting:
            for name in _refs(self._schemas[waiting.pop(0)]):
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
                    yield name


def _pieces(mapped: Mapped) -> Iterator[Piece]:
    """Take an address apart; one that only a regex describes is left to be written."""
    address = get_script_prefix() + mapped.address.removeprefix("/")
    if re.search(r"[()|?*+^$\\\[\]]", address):
        yield Piece("", "address", f"matches {mapped.path}")
        return
    for number, part in enumerate(re.split(r"{(\w+)}", address)):
        if number % 2:
            yield Piece("", part, _hint(mapped.parameters[part]))
        elif part:
            yield Piece(part, "", "")


def _hint(sentence: str) -> str:
    """Return what a parameter may be without the marks of Markdown, to go after its name."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".").replace("`", "")


def type_of(schema: Schema) -> str:
    """Return a type in the words of JSON."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(PREFIX)
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(type_of(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return _array(schema.get("items", {}))
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_of(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))


def _array(items: Schema | list[Schema]) -> str:
    if isinstance(items, list):
        return f"[{', '.join(map(type_of, items))}]"
    item = type_of(items)
    return f"({item})[]" if "|" in item else f"{item}[]"


def _notes(schema: Schema) -> Iterator[str]:
    for each in (schema, *schema.get("anyOf", ())):
        for keyword, text in BOUNDS.items():
            if keyword in each and not isinstance(each.get("items"), list):  # which says it all
                yield text.format(each[keyword])
    if "default" in schema:
        yield f"by default {json.dumps(schema['default'], ensure_ascii=False)}"


def _refs(schema: Any) -> Iterator[str]:
    for each in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(each, dict | list):
            yield from _refs(each)
    if isinstance(schema, dict) and "$ref" in schema:
        yield schema["$ref"].removeprefix(PREFIX)


def _documentation(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "")
