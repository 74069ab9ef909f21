"""What a type says about JSON that is still arriving: which values may be shown before they are whole, and how.

    Text      a str: shown as it grows
    Fields    an object with known keys: a msgspec Struct, dataclass, TypedDict or pydantic model; made empty, filled key by key
    Items     a list of something: grows item by item
    Table     a dict with str keys: grows key by key
    Tagged    one of several Structs, told apart by a tag: is one of them once the tag has come
    Either    a union of which at most one member is an object, one an array and one a str: its JSON says which
    Raw       Any or object: shown as JSON gave it
    Whole     all else (numbers, enums, dates, literals, tuples, sets ...): shown when it is whole and checked

A value that is whole is checked by the library its type belongs to: pydantic where the type is or names a pydantic
model, msgspec for all others. pydantic is never imported here: whoever has a model has imported it.

Whatever a validator of a pydantic model may turn into something else is not shown before that validator has run: a field
with a validator of its own comes with its whole object, a model with a validator "before" or "wrap" comes whole.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NewType, NoReturn, TypeAlias, TypeGuard, Union, get_args, get_origin, get_type_hints

import msgspec

from streamkit.errors import ConfigError, TypeMismatch

__all__ = ["Either", "Fields", "Items", "Raw", "Shape", "Table", "Tagged", "Text", "Whole", "shape_of"]

Convert: TypeAlias = Callable[[object], object]

# The first characters of JSON values, by what they begin.
OBJECT, ARRAY, STRING = "{", "[", '"'
NUMBER = "-0123456789"
ANYTHING = OBJECT + ARRAY + STRING + NUMBER + "tfn"

_BEGINNINGS: dict[type, str] = {
    msgspec.inspect.IntType: NUMBER,
    msgspec.inspect.FloatType: NUMBER,
    msgspec.inspect.BoolType: "tf",
    msgspec.inspect.NoneType: "n",
    msgspec.inspect.StrType: STRING,
    msgspec.inspect.EnumType: STRING + NUMBER,
    msgspec.inspect.LiteralType: STRING + NUMBER + "n",
    msgspec.inspect.DateTimeType: STRING,
    msgspec.inspect.DateType: STRING,
    msgspec.inspect.TimeType: STRING,
    msgspec.inspect.TimeDeltaType: STRING,
    msgspec.inspect.UUIDType: STRING,
    msgspec.inspect.BytesType: STRING,
    msgspec.inspect.ByteArrayType: STRING,
    msgspec.inspect.MemoryViewType: STRING,
    msgspec.inspect.DecimalType: STRING + NUMBER,
    msgspec.inspect.ListType: ARRAY,
    msgspec.inspect.TupleType: ARRAY,
    msgspec.inspect.VarTupleType: ARRAY,
    msgspec.inspect.SetType: ARRAY,
    msgspec.inspect.FrozenSetType: ARRAY,
    msgspec.inspect.DictType: OBJECT,
}


class Shape:
    """A type, as far as growing values care.

    Attributes:
        begins: The characters that its JSON may begin with.
        convert: What makes a value of it of one that is whole; `whole` with the errors of whoever does it.
    """

    def __init__(self, type: object, begins: str, convert: Convert) -> None:
        self.type = type
        self.begins = begins
        self.convert = convert

    def whole(self, raw: object, path: str) -> Any:
        """A value that is complete, as its type has it.

        Raises:
            TypeMismatch: it is none of that type.
        """
        try:
            return self.convert(raw)
        except msgspec.ValidationError as error:
            inside = error.__cause__
            if inside is not None and hasattr(inside, "errors"):
                _refuse_model(self.type, inside, path, ())
            _refuse(self.type, str(error), path)
        except UnicodeEncodeError:
            path = path.lstrip(".")
            wanted = "text that UTF-8 can hold"
            raise TypeMismatch(_message(path, wanted), path=path, expected=wanted) from None
        except ValueError as error:
            if not hasattr(error, "errors"):
                raise
            _refuse_model(self.type, error, path, self.names())

    def names(self) -> Iterable[str]:
        """The keys that belong to the type and not to the answer: fit for a message."""
        return ()


class Whole(Shape):
    """Shown when it is whole."""


class Raw(Shape):
    """Shown as it is; nothing is checked."""


class Text(Shape):
    """Shown as it grows."""


class Items(Shape):
    """An array of values of one shape. Like `Table` and `Fields` it makes what is shown, and puts a child at its place there."""

    element: Shape

    def make(self) -> Any:
        return []

    def inner(self, at: Any) -> Shape | None:
        return self.element

    def put(self, shown: Any, at: Any, value: object) -> None:
        if at == len(shown):
            shown.append(value)
        else:
            shown[at] = value


class Table(Shape):
    """An object whose keys are data."""

    element: Shape

    def make(self) -> Any:
        return {}

    def inner(self, at: Any) -> Shape | None:
        return self.element

    def put(self, shown: Any, at: Any, value: object) -> None:
        shown[at] = value


class Fields(Shape):
    """An object whose keys are known.

    Attributes:
        fields: For each key of the JSON the attribute, and its shape; None for one that is shown with the whole only.
        make: An object of the type of which nothing has come yet: its fields have their defaults or are None.
        set: Set an attribute of such an object, whatever the class says about being changed.
    """

    fields: dict[str, tuple[str, Shape | None]]
    make: Callable[[], Any]
    set: Callable[[Any, str, Any], None]

    def inner(self, at: Any) -> Shape | None:
        return self.fields[at][1] if at in self.fields else None

    def put(self, shown: Any, at: Any, value: object) -> None:
        self.set(shown, self.fields[at][0], value)

    def missing(self, raw: dict[str, Any]) -> tuple[str, ...]:
        """The attributes whose keys have not come."""
        return tuple(dict.fromkeys(name for key, (name, _) in self.fields.items() if key not in raw))

    def names(self) -> Iterable[str]:
        return self.fields


class Tagged(Shape):
    """One of several objects, told apart by the value of one key."""

    key: str
    members: dict[object, Fields]


class Either(Shape):
    """A union: what its JSON begins with says which member it is."""

    mapping: Fields | Table | Tagged | None = None
    array: Items | None = None
    text: bool = False


def shape_of(type: object) -> Shape:
    """What is known of a type.

    Raises:
        ConfigError: neither msgspec nor pydantic reads it from JSON.
    """
    try:
        return _Reading().shape(type, models=False)
    except (TypeError, NameError) as error:
        raise ConfigError(f"{_name(type)} cannot be read from JSON: {error}") from None


class _Reading:
    """One look at a type; what it names several times, itself included, is looked at once."""

    def __init__(self) -> None:
        self._known: dict[object, Shape] = {}

    def shape(self, type: object, *, models: bool) -> Shape:
        """`models` says that it stands in a pydantic model, so that pydantic reads it."""
        while get_origin(type) in (typing.Required, typing.NotRequired):
            type = get_args(type)[0]
        models = models or _names_a_model(type)
        try:
            known = self._known.get((type, models))
        except TypeError:  # Literal[[...]] and constraints that are not hashable
            return self._made(type, models)
        return self._made(type, models) if known is None else known

    def _made(self, type: object, models: bool) -> Shape:
        bare = _bare(type)
        origin = get_origin(bare)
        if bare is Any or bare is object:
            return Raw(type, ANYTHING, _as_it_is)
        if bare is str:
            return Text(type, STRING, _converter(type, models))
        if origin is list or bare is list:
            return self._items(type, get_args(bare), models)
        if origin is dict and _bare(get_args(bare)[0]) is str:
            return self._table(type, get_args(bare)[1], models)
        if bare is dict:
            return self._table(type, Any, models)
        if origin in (Union, types.UnionType):
            return self._union(type, get_args(bare), models)
        fields = _fields_of(bare)
        if fields is not None:
            return self._fields(type, bare, fields, models)
        return _whole(type, models)

    def _items(self, type: object, arguments: tuple[object, ...], models: bool) -> Shape:
        shape = Items(type, ARRAY, _converter(type, models))
        self._know(type, models, shape)
        shape.element = self.shape(arguments[0] if arguments else Any, models=models)
        return shape

    def _table(self, type: object, element: object, models: bool) -> Shape:
        shape = Table(type, OBJECT, _converter(type, models))
        self._know(type, models, shape)
        shape.element = self.shape(element, models=models)
        return shape

    def _fields(self, type: object, bare: object, fields: _Found, models: bool) -> Shape:
        is_model = _is_model(bare)
        shape = Fields(type, OBJECT, _converter(type, models or is_model))
        self._know(type, models, shape)
        shape.make, shape.set = fields.make, fields.set
        shape.fields = {
            key: (name, None if inner is _LATE else self.shape(inner, models=models or is_model))
            for key, (name, inner) in fields.by_key.items()
        }
        return shape

    def _union(self, type: object, members: tuple[object, ...], models: bool) -> Shape:
        shapes = [self.shape(member, models=models) for member in members]
        begins = "".join(sorted({char for shape in shapes for char in shape.begins}))
        inner = [one for one in shapes if isinstance(one, Either)]
        shapes = [one for one in shapes if one not in inner]
        for either in inner:  # a union that an Annotated keeps together
            shapes += [one for one in (either.mapping, either.array) if one is not None]
        objects = [shape for shape in shapes if OBJECT in shape.begins]
        arrays = [shape for shape in shapes if ARRAY in shape.begins]
        convert = _converter(type, models)
        if len(objects) > 1:
            tagged = _tagged(type, objects, convert)
            if tagged is None:
                return Whole(type, begins, convert)
            objects = [tagged]
        shape = Either(type, begins, convert)
        if objects and isinstance(objects[0], Fields | Table | Tagged):
            shape.mapping = objects[0]
        if len(arrays) == 1 and isinstance(arrays[0], Items):
            shape.array = arrays[0]
        shape.text = any(isinstance(one, Text) for one in shapes) or any(one.text for one in inner)
        return shape

    def _know(self, type: object, models: bool, shape: Shape) -> None:
        try:
            self._known[type, models] = shape
        except TypeError:
            return  # not hashable: looked at again if it comes again


_LATE = object()


@dataclasses.dataclass
class _Found:
    """The fields of a class: (attribute, type) by key, the type `_LATE` for one that comes with its whole object."""

    by_key: dict[str, tuple[str, object]]
    make: Callable[[], Any]
    set: Callable[[Any, str, Any], None]


def _fields_of(bare: Any) -> _Found | None:
    """What a class of objects says of itself; None for a type that is none, or is written in another way."""
    origin: Any = get_origin(bare) or bare
    if not _is_class(origin):
        return None
    if issubclass(origin, msgspec.Struct):
        return _fields_of_struct(bare, origin)
    if _is_model(origin):
        return _fields_of_model(origin)
    if origin is not bare:
        return None
    if hasattr(origin, "__dataclass_fields__"):
        return _fields_of_dataclass(origin)
    if typing.is_typeddict(origin):
        hints = get_type_hints(origin, include_extras=True)
        return _Found({name: (name, hint) for name, hint in hints.items()}, dict[str, Any], dict[str, Any].__setitem__)
    return None


def _fields_of_struct(bare: Any, cls: type[msgspec.Struct]) -> _Found | None:
    if cls.__struct_config__.array_like:
        return None
    fields = msgspec.structs.fields(bare)
    if hasattr(cls, "__post_init__"):
        # It expects an object that is whole, so it must not see one that grows: that is of a class without it.
        cls = msgspec.defstruct(cls.__name__, [], bases=(cls,), namespace={"__post_init__": _nothing}, module=cls.__module__)
    blank = {field.name: None for field in fields if field.required}
    return _Found(
        {field.encode_name: (field.name, field.type) for field in fields},
        lambda: cls(**blank),
        msgspec.structs.force_setattr,
    )


def _fields_of_dataclass(cls: type[Any]) -> _Found:
    hints = get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)

    def make() -> Any:
        made = object.__new__(cls)
        for field in fields:
            value = None if field.default is dataclasses.MISSING else field.default
            if field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            object.__setattr__(made, field.name, value)
        return made

    return _Found({field.name: (field.name, hints[field.name]) for field in fields if field.init}, make, object.__setattr__)


def _fields_of_model(cls: Any) -> _Found | None:
    """Of a pydantic model; None where a validator sees the object before its fields are read."""
    if getattr(cls, "__pydantic_root_model__", False) or not hasattr(cls, "model_fields"):
        return None
    decorators = cls.__pydantic_decorators__
    if any(one.info.mode != "after" for one in decorators.model_validators.values()) or decorators.root_validators:
        return None
    validators = [*decorators.field_validators.values(), *decorators.validators.values()]
    late = {name for one in validators for name in one.info.fields}
    config = cls.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    by_key: dict[str, tuple[str, object]] = {}
    for name, field in cls.model_fields.items():
        inner: object = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        place = (name, _LATE if name in late or "*" in late else inner)
        alias = field.validation_alias or field.alias
        if isinstance(alias, str):
            by_key[alias] = place
        if alias is None or by_name:
            by_key[name] = place

    def make() -> Any:
        made = cls.__new__(cls)
        # As model_construct() does it, but for model_post_init(), which expects an object that is whole.
        object.__setattr__(made, "__dict__", {name: _default(field) for name, field in cls.model_fields.items()})
        for slot, value in (("fields_set", set[str]()), ("extra", None), ("private", None)):
            object.__setattr__(made, f"__pydantic_{slot}__", value)
        return made

    return _Found(by_key, make, _put_in_model)


def _default(field: Any) -> Any:
    if field.is_required() or getattr(field, "default_factory_takes_validated_data", False):
        return None
    return field.get_default(call_default_factory=True)


def _put_in_model(model: Any, name: str, value: Any) -> None:
    model.__dict__[name] = value
    model.__pydantic_fields_set__.add(name)


def _tagged(type: object, shapes: list[Shape], convert: Convert) -> Tagged | None:
    """The union as one that a key decides: the tag of Structs, or a literal that is another one in each model."""
    members = [shape for shape in shapes if isinstance(shape, Fields)]
    if len(members) < len(shapes):
        return None
    structs: list[Any] = [getattr(_class_of(member), "__struct_config__", None) for member in members]
    found: dict[object, Fields] = {}
    if all(one is not None and one.tag_field for one in structs):
        key: str | None = structs[0].tag_field
        found = {one.tag: member for one, member in zip(structs, members, strict=True)}
    else:
        key = next((key for key in members[0].fields if _literals(members, key)), None)
        if key is not None:
            found = _literals(members, key)
    if key is None:
        return None
    shape = Tagged(type, OBJECT, convert)
    shape.key, shape.members = key, found
    return shape


def _literals(members: list[Fields], key: str) -> dict[object, Fields]:
    """The members by the literals that they have at a key; {} if one has none there, or two have the same."""
    found: dict[object, Fields] = {}
    for member in members:
        shape = member.fields.get(key, (key, None))[1]
        literals = get_args(_bare(shape.type)) if shape is not None and get_origin(_bare(shape.type)) is Literal else ()
        if not literals or any(literal in found for literal in literals):
            return {}
        found.update(dict.fromkeys(literals, member))
    return found


def _whole(type: object, models: bool) -> Shape:
    convert = _converter(type, models)
    if models:
        # pydantic takes a text for a number and so on, but no container.
        bare = _bare(type)
        single = bare in (None, types.NoneType, bool, int, float) or get_origin(bare) is Literal
        return Whole(type, STRING + NUMBER + "tfn" if single else ANYTHING, convert)
    info = msgspec.inspect.type_info(type)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.CustomType):
        raise TypeError(f"what a {_name(type)} looks like in JSON is not known")
    return Whole(type, _BEGINNINGS.get(info.__class__, ANYTHING), convert)


def _converter(type: object, models: bool) -> Convert:
    if models:
        return _by_pydantic(type)
    msgspec.json.Decoder(type, dec_hook=_read_model)  # raises TypeError for what it cannot read

    def convert(raw: object) -> object:
        return msgspec.convert(raw, type, dec_hook=_read_model, str_keys=True)

    return convert


def _by_pydantic(type: Any) -> Convert:
    adapter: Any = None

    def convert(raw: object) -> object:
        nonlocal adapter
        if adapter is None:
            import pydantic  # the type is of it, so it is there

            adapter = pydantic.TypeAdapter(type)
        # Text again, because pydantic reads JSON otherwise than Python's values: a date in a strict model, say.
        return adapter.validate_json(msgspec.json.encode(raw))

    return convert


def _read_model(cls: type, raw: object) -> object:
    """A pydantic model inside a type that msgspec reads."""
    return _by_pydantic(cls)(raw)


def _as_it_is(raw: object) -> object:
    return raw


def _nothing(self: object) -> None:
    """In the place of `__post_init__`."""


def _class_of(shape: Shape) -> object:
    bare = _bare(shape.type)
    return get_origin(bare) or bare


def _is_class(origin: object) -> TypeGuard[type[Any]]:
    return isinstance(origin, type)


def _is_model(bare: object) -> TypeGuard[type[Any]]:
    return isinstance(bare, type) and hasattr(bare, "__pydantic_validator__")


def _names_a_model(type: object) -> bool:
    bare = _bare(type)
    if _is_class(get_origin(bare)) and issubclass(get_origin(bare), msgspec.Struct):
        return False  # a field of it is a model, and it itself is none
    return _is_model(bare) or any(_names_a_model(inner) for inner in get_args(bare))


def _bare(type: Any) -> Any:
    """The type without what is said about it: Annotated, aliases, NewType."""
    while True:
        if hasattr(type, "__metadata__"):
            type = type.__origin__
        elif isinstance(type, NewType):
            type = type.__supertype__
        elif hasattr(type, "__value__"):  # `type X = ...`, from Python 3.12 on
            type = type.__value__
        else:
            return type


def _refuse(type: object, message: str, path: str) -> NoReturn:
    """Raise for what msgspec says, without the values that stand in some of its messages."""
    what, _, inside = message.partition(" - at `$")
    safe = what.startswith(("Expected ", "Object missing required field "))
    path = (path + inside.rstrip("`")).lstrip(".")
    expected = what if safe else f"a value of {_name(type)}"
    raise TypeMismatch(_message(path, expected), path=path, expected=expected, excerpt="" if safe else what)


def _refuse_model(type: object, error: Any, path: str, names: Iterable[str]) -> NoReturn:
    """Raise for what pydantic says: its code, because its words may hold content."""
    first = error.errors(include_input=False, include_url=False)[0]
    for part in first["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in names:
            path += f".{part}"
            names = ()
        else:
            break
    path = path.lstrip(".")
    expected = f"a value of {_name(type)} ({first['type']})"
    raise TypeMismatch(_message(path, expected), path=path, expected=expected, excerpt=first["msg"])


def _message(path: str, expected: str) -> str:
    return f"JSON of another type than was asked for, at {path or 'its top'}: {expected}"


def _name(type: object) -> str:
    return str(type) if get_args(type) or not _is_class(type) else type.__name__
