"""
TypeScript declarations of the messages of every route, as JSON or MessagePack has them.

``_Sockets`` writes an interface for each route, ``_Messages`` one for each class of message. What a
client sends and what it gets may differ for one class: a field with a default may be left out by
the client, and the server writes it. Such a class has two interfaces, and only such a class.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_origin

from django.urls.converters import IntConverter
from django.urls.resolvers import RoutePattern
from msgspec import NODEFAULT
from msgspec import inspect as types

from .errors import CODES
from .mapped import answers, messages_of, unique
from .schemas import schema_of_other
from .types import End, Error, Message, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .handlers import Handler
    from .mapped import Mapped

HEADER: Final = """\
// The messages of each websocket. Made by `manage.py websocket_types`: don't edit this file.
"""

PROTOCOL: Final = {
    "Ref": (
        "What a client chooses to tell replies apart; a reply has that of what it answers.",
        " number | string",
    ),
    "ErrorCode": (
        "The codes of errors that any request may be answered with.",
        "".join(f"\n  | {json.dumps(code)}" for code in CODES),
    ),
}
"""What belongs to no class, with its comment and type."""

WIDTH: Final = 80
"""Characters of a line with a union; a longer one has a line for each member."""


class Form(NamedTuple):
    """How a message is written: by whom, and in which codec."""

    is_sent: bool
    codec: str

    @property
    def suffix(self) -> str:
        """What tells the interface of a class from its others."""
        return ("" if self.codec == "json" else "Packed") + ("Input" if self.is_sent else "")


def typescript_declarations(consumers: Sequence[Mapped]) -> str:
    """Return the text of a ``.d.ts`` file; raise ``TypeError`` for a type that can't be written."""
    names = _Names()
    sockets = [(names.free(_socket_name(mapped)), mapped) for mapped in consumers]
    messages = _Messages(names, list(_spoken(consumers)))
    written = [_socket(name, mapped, messages) for name, mapped in sockets]
    protocol = [
        f"{_comment(comment)}export type {name} ={kind};\n"
        for name, (comment, kind) in PROTOCOL.items()
    ]
    return "\n".join([HEADER, *written, *messages.declarations(), *protocol])


def _spoken(consumers: Iterable[Mapped]) -> Iterator[tuple[type[Message], Form]]:
    for mapped in consumers:
        for kind in mapped.incoming:
            yield kind, Form(is_sent=True, codec=mapped.codec)
        for kind in mapped.outgoing:
            yield kind, Form(is_sent=False, codec=mapped.codec)


class _Names:
    """Gives each declaration a name that no other has."""

    def __init__(self) -> None:
        self._taken = {*PROTOCOL, "Date", "Uint8Array"}

    def free(self, name: str) -> str:
        """Return the name, with a number if it is taken. No word of TypeScript has a capital."""
        plain = re.sub(r"\W+", "_", name).strip("_")
        plain = f"_{plain}" if plain[:1].isdigit() else plain[:1].upper() + plain[1:]
        number, found = 1, plain
        while found in self._taken:
            number += 1
            found = f"{plain}{number}"
        self._taken.add(found)
        return found


# Routes


def _socket_name(mapped: Mapped) -> str:
    """Return the route's name, or else the consumer's, as that of a class."""
    name = mapped.name or mapped.consumer.__name__.removesuffix("Consumer")
    words = [word for word in re.split(r"[\W_]+", name) if word]
    pascal = "".join(word[0].upper() + word[1:] for word in words)
    return pascal.removesuffix("Socket") + "Socket"


def _socket(name: str, mapped: Mapped, messages: _Messages) -> str:
    sent, got = (Form(is_sent=is_sent, codec=mapped.codec) for is_sent in (True, False))
    requests = [handler for handler in mapped.requests if not handler.is_stream]
    streams = [handler for handler in mapped.requests if handler.is_stream]
    own_errors = [_quoted(code) for code in mapped.interface.errors if code not in CODES]
    members = [
        ("", f"url: {_url(mapped)}"),
        ("", f"codec: {_quoted(mapped.codec)}"),
        ("What a client may send.", f"send: {messages.union(mapped.incoming, sent)}"),
        ("Replies, by the type of the request.", f"request: {_answers(requests, messages, got)}"),
        (
            "Items of streams, by the type of the request.",
            f"stream: {_answers(streams, messages, got)}",
        ),
        (
            "What comes without being asked for.",
            f"broadcast: {messages.union(mapped.interface.sends.values(), got)}",
        ),
        ("All that may come.", f"receive: {messages.union(mapped.outgoing, got)}"),
        ("Codes of errors.", f"error: {_union(['ErrorCode', *own_errors])}"),
    ]
    login = "Only for users who are logged in." if mapped.needs_login else ""
    texts = filter(None, [mapped.address, _documentation(mapped.consumer), login])
    comment = _comment("\n\n".join(texts))
    return f"{comment}export interface {name} {_block(members)}\n"


def _answers(handlers: Iterable[Handler], messages: _Messages, form: Form) -> str:
    """Return what handlers answer with by the type that they take, but for errors and ends."""
    return _block(
        (
            _documentation(handler.function),
            f"{_key(tag(kind))}: "
            + messages.union((one for one in answers(handler) if one not in (Error, End)), form),
        )
        for handler in handlers
        for kind in messages_of(handler)
    )


def _url(mapped: Mapped) -> str:
    """Return a template literal type; what a regex or a language prefix matches may be any text."""
    return "`/" + "".join(map(_template, mapped.parts)) + "`"


def _template(pattern: Any) -> str:
    if not isinstance(pattern, RoutePattern):
        return "${string}" if str(pattern) else ""
    pieces = re.split(r"<(?:[^>:]+:)?([^>]+)>", str(pattern))
    literal = [re.sub(r"([`\\$])", r"\\\1", piece) for piece in pieces[::2]]
    numbers = [pattern.converters[name].regex == IntConverter.regex for name in pieces[1::2]]
    placeholders = ["${number}" if is_number else "${string}" for is_number in numbers]
    pairs = zip(literal, [*placeholders, ""], strict=True)
    return "".join(piece for pair in pairs for piece in pair)


# Messages


class _Messages:
    """The declarations of messages, and of all structs in them."""

    def __init__(self, names: _Names, spoken: Sequence[tuple[type[Message], Form]]) -> None:
        self._seen: dict[Any, dict[Form, Any]] = {}
        kinds = unique(kind for kind, _ in spoken)
        read = dict(zip(kinds, types.multi_type_info(kinds), strict=True))
        for kind, form in spoken:
            self._find(read[kind], form)
        plain = {cls: names.free(_class_name(cls)) for cls in self._seen}
        self._named = {
            (cls, form): plain[cls] for cls, forms in self._seen.items() for form in forms
        }
        while (named := self._name_by_body(plain)) != self._named:
            self._named = named
        for cls, forms in self._seen.items():
            others = sorted({named[cls, form] for form in forms} - {plain[cls]})
            final = {plain[cls]: plain[cls], **{name: names.free(name) for name in others}}
            self._named |= {(cls, form): final[named[cls, form]] for form in forms}

    def union(self, kinds: Iterable[type[Message]], form: Form) -> str:
        """Return the type of what is any of these messages."""
        return _union(self._named[kind, form] for kind in kinds)

    def declarations(self) -> Iterator[str]:
        """Yield the declaration of each struct, or those of its forms."""
        for cls, forms in self._seen.items():
            for name, form in {self._named[cls, form]: form for form in sorted(forms)}.items():
                body = self._body(forms[form], form)
                comment = _comment(_documentation(get_origin(cls) or cls))
                kind = f"type {name} =" if body.startswith("[") else f"interface {name}"
                yield f"{comment}export {kind} {body}\n"

    def _find(self, kind: Any, form: Form) -> None:
        """Note the structs of which a type consists."""
        if isinstance(kind, _STRUCTS):
            forms = self._seen.setdefault(kind.cls, {})
            if form in forms:
                return
            forms[form] = kind
        for part in _parts(kind):
            self._find(part, form)

    def _name_by_body(self, plain: Mapping[Any, str]) -> dict[tuple[Any, Form], str]:
        """Return the names by what the declarations are with the names that there are."""
        named = {}
        for cls, forms in self._seen.items():
            by_body: dict[str, str] = {}
            for form in sorted(forms):
                suffix = form.suffix if by_body else ""
                name = by_body.setdefault(self._body(forms[form], form), plain[cls] + suffix)
                named[cls, form] = name
        return named

    def _body(self, struct: Any, form: Form) -> str:
        is_tuple = isinstance(struct, types.NamedTupleType) or getattr(struct, "array_like", False)
        if is_tuple:
            return f"[{', '.join(self._items(struct, form))}]"
        return _block(("", member) for member in self._members(struct, form))

    def _items(self, struct: Any, form: Form) -> Iterator[str]:
        if getattr(struct, "tag", None) is not None:
            yield _quoted(struct.tag)
        for field in struct.fields:
            yield self._type(field.type, form)

    def _members(self, struct: Any, form: Form) -> Iterator[str]:
        if getattr(struct, "tag", None) is not None:
            yield f"{_key(struct.tag_field)}: {_quoted(struct.tag)}"
        is_message = issubclass(get_origin(struct.cls) or struct.cls, Message)
        for field in struct.fields:
            if is_message and field.name == "ref":
                yield "ref?: Ref"
            else:
                mark = "?" if _may_lack(struct, field, form) else ""
                yield f"{_key(field.encode_name)}{mark}: {self._type(field.type, form)}"

    def _type(self, kind: Any, form: Form) -> str:
        if isinstance(kind, _STRUCTS):
            return self._named[kind.cls, form]
        if isinstance(kind, types.UnionType):
            return _union(self._type(each, form) for each in kind.types)
        if isinstance(kind, types.CollectionType):
            item = self._type(kind.item_type, form)
            return f"({item})[]" if "|" in item else f"{item}[]"
        if isinstance(kind, types.TupleType):
            return f"[{', '.join(self._type(each, form) for each in kind.item_types)}]"
        if isinstance(kind, types.DictType):
            return f"{{ [key: string]: {self._type(kind.value_type, form)} }}"
        if isinstance(kind, types.Metadata):
            return self._type(kind.type, form)
        return _plain(kind, form.codec)


_STRUCTS: Final = (
    types.StructType,
    types.DataclassType,
    types.TypedDictType,
    types.NamedTupleType,
)
"""What has fields, and gets a declaration of its own."""

_TYPES: Final = {
    types.AnyType: "unknown",
    types.RawType: "unknown",
    types.ExtType: "unknown",
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.IntType: "number",
    types.FloatType: "number",
}
"""What is no text on the wire."""

_PACKED: Final = {
    types.BytesType: "Uint8Array",
    types.ByteArrayType: "Uint8Array",
    types.MemoryViewType: "Uint8Array",
}
"""What MessagePack has itself; in JSON it is text."""

_MOMENTS: Final = {True: "Date", False: "string", None: "Date | string"}
"""What a moment is in MessagePack, by whether it has a time zone: its timestamps do."""


def _plain(kind: Any, codec: str) -> str:
    """Return the type of what consists of nothing else."""
    if isinstance(kind, types.LiteralType):
        return _union(map(_quoted, kind.values))
    if isinstance(kind, types.EnumType):
        return _union(_quoted(member.value) for member in kind.cls)
    if isinstance(kind, types.CustomType):
        return _other(kind.cls)
    if codec == "msgpack" and isinstance(kind, types.DateTimeType):
        return _MOMENTS[kind.tz]
    if codec == "msgpack" and type(kind) in _PACKED:
        return _PACKED[type(kind)]
    return _TYPES.get(type(kind), "string")


def _other(cls: type) -> str:
    """Return the type of what is encoded though msgspec does not know it."""
    try:
        schema = schema_of_other(cls)
    except NotImplementedError:
        raise TypeError(
            f"{cls.__module__}.{cls.__qualname__} has no type in TypeScript. Annotate the field "
            "with a type that msgspec knows."
        ) from None
    if "enum" in schema:
        return _union(map(_quoted, schema["enum"]))
    return "number" if schema["type"] == "integer" else str(schema["type"])


def _parts(kind: Any) -> Iterator[Any]:
    """Yield the types that a type consists of."""
    for name in ("type", "item_type", "value_type"):
        if hasattr(kind, name):
            yield getattr(kind, name)
    for name in ("types", "item_types"):
        yield from getattr(kind, name, ())
    for field in getattr(kind, "fields", ()):
        yield field.type


def _may_lack(struct: Any, field: Any, form: Form) -> bool:
    """Whether a field may be left out: by clients if it has a default, else if it can be unset."""
    if field.required:
        return False
    config = getattr(struct.cls, "__struct_config__", None)
    omits = config is not None and config.omit_defaults
    has_default = not (field.default is NODEFAULT and field.default_factory is NODEFAULT)
    return form.is_sent or omits or not has_default


def _class_name(cls: Any) -> str:
    """Return the name of a class; that of a generic one has what it is made with."""
    name: str = getattr(cls, "__name__", "Any")
    return "".join([name[0].upper() + name[1:], *map(_class_name, get_args(cls))])


# Text


def _documentation(documented: Any) -> str:
    """Return the docstring of what is documented, that of no base class."""
    return inspect.cleandoc(documented.__doc__ or "")


def _comment(text: str) -> str:
    """Return a comment before a declaration, or nothing."""
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) < 2:
        return f"/** {lines[0]} */\n" if lines else ""
    return "\n".join(["/**", *(f" * {line}".rstrip() for line in lines), " */", ""])


def _block(members: Iterable[tuple[str, str]]) -> str:
    """Return an object type with these members, each after its comment."""
    lines = [f"{_comment(comment)}{member};\n" for comment, member in members]
    written = "".join(lines).replace(": \n", ":\n")
    return f"{{\n{textwrap.indent(written, '  ')}}}" if written else "{}"


def _union(members: Iterable[str]) -> str:
    """Return the union of types, each once; that of none is of nothing."""
    found = list(dict.fromkeys(members)) or ["never"]
    line = " | ".join(found)
    return line if len(line) <= WIDTH else "".join(f"\n  | {each}" for each in found)


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else _quoted(name)
