"""
An example of a message, made up from its schema.

``example_of()`` gives only what the class itself accepts: a pattern, or a validator that no schema
tells of, may need an example of its own, ``Meta(examples=[...])`` on the field.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .schemas import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .schemas import Schema
    from .types import Message

_TEXTS: Final = ("text", "2026-01-31T12:00:00Z", "12:00:00Z")
"""What a text may be, the first that fits: schemas do not tell dates without a zone from text."""

_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "decimal": "9.90",
    "duration": "PT1H",
    "time": "12:00:00Z",
    "uuid": "6f0c3a52-4f0e-4c5b-9d54-0b6a8f3c2d11",
}
_MAX_DEPTH: Final = 12


def example_of(kind: type[Message], name: str, schemas: Mapping[str, Schema]) -> Any:
    """Return a message as it is on the wire in JSON, or ``None`` if none can be made up."""
    for text in _TEXTS:
        try:
            example = _Example(schemas, text).value(schemas[name], 0)
            msgspec.json.decode(msgspec.json.encode(example), type=kind)
        except (msgspec.ValidationError, RecursionError):
            continue
        return example
    return None


class _Example:
    """Makes up values, with the same text wherever any will do."""

    def __init__(self, schemas: Mapping[str, Schema], text: str) -> None:
        self._schemas = schemas
        self._text = text

    def value(self, schema: Schema, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise RecursionError("No example ends within the depth allowed.")
        for name in ("examples", "enum"):
            if schema.get(name):
                return schema[name][0]
        if "$ref" in schema:
            return self.value(self._schemas[schema["$ref"].removeprefix(PREFIX)], depth + 1)
        if "anyOf" in schema:
            return self._any_of(schema["anyOf"], depth)
        make = getattr(self, f"_{schema.get('type', 'null')}")
        return make(schema, depth)

    def _any_of(self, schemas: list[Schema], depth: int) -> Any:
        can_be_null = any(each.get("type") == "null" for each in schemas)
        return None if can_be_null and depth > 1 else self.value(schemas[0], depth + 1)

    def _null(self, schema: Schema, depth: int) -> None:
        return None

    def _boolean(self, schema: Schema, depth: int) -> bool:
        return True

    def _integer(self, schema: Schema, depth: int) -> int:
        step = schema.get("multipleOf", 1)
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf) - 1)
        return int(min(math.ceil(least / step), most // step) * step)

    def _number(self, schema: Schema, depth: int) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        if least is not None and most is not None:
            return float(least + most) / 2
        return float(self._integer(schema, depth))

    def _string(self, schema: Schema, depth: int) -> str:
        if "format" in schema:
            return _FORMATS.get(schema["format"], self._text)
        if "contentEncoding" in schema:
            return "AAEC"
        text = self._text.ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength")]

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        items = schema.get("items", {})
        if isinstance(items, list):
            return [self.value(each, depth + 1) for each in items]
        least = schema.get("minItems", 0 if depth > 2 or schema.get("maxItems") == 0 else 1)
        return [self.value(items, depth + 1)] * least

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: self.value(each, depth + 1)
            for name, each in schema.get("properties", {}).items()
            if name in required or "examples" in each
        }
