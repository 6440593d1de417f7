"""From a model instance, or any other object, to the fields of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
from django.db.models import Model
from msgspec import NODEFAULT, Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


def values_from(cls: type[Struct], instance: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for each field: the one that is given, or else the instance's attribute."""
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise TypeError(
            f"{cls.__name__}.from_model() got a value for {unknown[0]!r}, which is no field of it."
        )
    values = dict(given)
    for name, field in fields.items():
        if name in given or name == "ref":
            continue
        try:
            value = _attribute(instance, name, field.type)
        except AttributeError:
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                raise TypeError(
                    f"{cls.__name__}.from_model() found no {name!r} in "
                    f"{type(instance).__name__}. Give it a value: from_model(..., {name}=...)."
                ) from None
            continue
        values[name] = _converted(cls, name, value, field.type)
    return values


def _attribute(instance: object, name: str, kind: Any) -> Any:
    """Return an attribute; of a foreign key the primary key, which needs no query."""
    if isinstance(instance, Model) and not _holds_struct(kind):
        return instance.serializable_value(name)
    return getattr(instance, name)


def _holds_struct(kind: Any) -> bool:
    """Whether a field's type is a struct, or an optional one, or a list of them."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return True
    return any(map(_holds_struct, get_args(kind)))


def _converted(cls: type, name: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        raise TypeError(f"{cls.__name__}.from_model() can't use {name!r}: {error}.") from error
