"""
The JSON Schema of messages, in the draft 7 that AsyncAPI is built on.

msgspec writes draft 2020-12, with OpenAPI's discriminators; what differs is rewritten here.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.utils.functional import Promise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Message

Schema = dict[str, Any]

PREFIX: Final = "#/components/schemas/"
"""Where a ``$ref`` leads."""

_PLAIN: Final[tuple[tuple[type, Schema], ...]] = (
    (Promise, {"type": "string"}),
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bytes, {"type": "string", "contentEncoding": "base64"}),
)
"""What is encoded though msgspec does not know it: lazy text, and subclasses of basic types."""


def schemas_of(
    kinds: Sequence[type[Message]],
) -> tuple[dict[type[Message], str], dict[str, Schema]]:
    """Return the name of each class's schema, and the schemas by name, those of fields too."""
    refs, schemas = msgspec.json.schema_components(
        kinds, schema_hook=schema_of_other, ref_template=f"{PREFIX}{{name}}"
    )
    names = {kind: ref["$ref"].removeprefix(PREFIX) for kind, ref in zip(kinds, refs, strict=True)}
    return names, {name: _draft_7(schema) for name, schema in schemas.items()}


def schema_of_other(kind: type) -> Schema:
    """Return the schema of a type that msgspec does not know, or raise ``NotImplementedError``."""
    if issubclass(kind, Enum):  # Django's choices have a metaclass of their own
        return {"enum": [member.value for member in kind]}
    for known, schema in _PLAIN:
        if issubclass(kind, known):
            return schema
    raise NotImplementedError


def _draft_7(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    new = {
        name: {field: _draft_7(each) for field, each in value.items()}  # names, no keywords
        if name == "properties"
        else value
        if name in ("default", "examples", "enum")  # data, no schema
        else _draft_7(value)
        for name, value in schema.items()
        if name != "discriminator"  # the tags are in the schemas themselves
    }
    if "prefixItems" in new:
        rest = new.pop("items", True)
        new |= {"items": new.pop("prefixItems"), "additionalItems": rest}
    return new
