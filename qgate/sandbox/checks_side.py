"""The checks' end inside the sandbox: runs them, and asks the program's process for what is its.

A name that the checks do not define is looked up there each time that it is used. Functions and
objects of the program are `Remote` here: they can be called and asked; what comes back is plain
data that is built on this side, and a `Remote` is never equal to plain data by its own word.
Standard library only: this file is handed to the interpreter as text.
"""

from __future__ import annotations

import builtins
import operator
from collections import deque
from typing import TYPE_CHECKING, Any

from qgate.sandbox.plain_data import Broken, Channel, decode, encode, is_plain
from qgate.sandbox.program_side import BINARY, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_GONE = (Broken, OSError, LookupError, ValueError, TypeError, RecursionError, MemoryError)


class Left(BaseException):
    """What the checks do cannot be gone on with; none of them is meant to catch it."""


class Client:
    """Asks the program's process. What went wrong once stays wrong, whatever the checks catch."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._classes: dict[int, type[BaseException]] = {}
        self._objects: dict[int, Remote] = {}
        self.is_broken = False
        self.needs = ""
        """What of the checks needs the program in their own process."""

    def ask(self, do: str, /, *values: object, **named: object) -> Any:  # noqa: ANN401 - any value
        """Have something done with values; raises what the program raises."""
        on = [encode(value, self._given) for value in values]
        by_name = {name: encode(value, self._given) for name, value in named.items()}
        try:
            if self.is_broken:
                raise Broken
            self._channel.send({"do": do, "on": on, "named": by_name})
            answer = self._channel.receive()
            if "raised" in answer:
                found, error = None, self._error(answer)
            else:
                found, error = decode(answer["value"], self._known), None
                after = [decode(one, self._known) for one in answer.get("after", ())]
                for old, new in zip((*values[1:], *named.values()), after, strict=False):
                    _merged(old, new)
        except _GONE as problem:
            self.is_broken = True
            raise Left from problem
        if error is not None:
            raise error
        return found

    def _given(self, value: Any) -> object:  # noqa: ANN401 - any value
        kind = type(value)
        if kind is Remote:
            return {"object": object.__getattribute__(value, "_number")}
        if kind is type and issubclass(value, BaseException):
            known = {one: number for number, one in self._classes.items()}
            return {"object": known[value]} if value in known else {"error": value.__name__}
        if is_plain(kind):  # too deep, which may be the program's doing
            self.is_broken = True
        else:
            self.needs = self.needs or f"a {kind.__name__} as an argument"
        raise Left

    def _known(self, tag: str, content: Any) -> object:  # noqa: ANN401 - JSON
        if tag == "class":
            return self._class(*content)
        if tag != "object" or type(content) is not int:
            raise Broken
        return self._remote(content)

    def _remote(self, number: int) -> Remote:
        """One for each number: the same object of the program is the same here."""
        return self._objects.setdefault(number, Remote(self, number))

    def _class(self, name: object, own: object, number: object) -> type[BaseException]:
        """An exception of Python's own by its name, or a new one for one of the program's."""
        base = getattr(builtins, str(own), None)
        if not (isinstance(base, type) and issubclass(base, BaseException)):
            raise Broken
        if name == own:
            return base
        if type(number) is not int or type(name) is not str:
            raise Broken
        if number not in self._classes:
            told = {
                "__str__": lambda error: error._said,
                "__getattr__": lambda error, wanted: self._attribute(error, wanted),
                "__module__": "program",
            }
            self._classes[number] = type(name, (base,), told)
        return self._classes[number]

    def _attribute(self, error: BaseException, name: str) -> Any:  # noqa: ANN401 - any value
        """What an exception of the program's has besides its arguments."""
        raised = vars(error).get("_object")
        if raised is None or name.startswith("_"):  # of this side, or of Python's
            raise AttributeError(name)
        return self.ask("getattr", raised, name)

    def _error(self, answer: Mapping[str, Any]) -> BaseException:
        kind, said = self._class(*answer["raised"]), str(answer["said"])
        values = decode(answer["with"], self._known)
        try:
            error = kind(*values)
        except Exception:  # noqa: BLE001 - some want other arguments than they keep
            error = kind()
        number = answer["object"]
        if type(number) is not int:
            raise Broken
        vars(error).update(_said=said, _place=str(answer["place"]), _object=self._remote(number))
        return error


def _merged(old: Any, new: Any) -> Any:  # noqa: ANN401 - any value
    """What the program made of an argument: the old object with the new content."""
    kind = type(old)
    if kind is not type(new) or kind is Remote:
        return new
    if kind in (list, deque):
        both = [_merged(*pair) for pair in zip(old, new, strict=False)]
        rest = list(new)[len(both) :]
        old.clear()
        old.extend([*both, *rest])
    elif isinstance(old, dict):
        items = {key: _merged(old.get(key), value) for key, value in new.items()}
        old.clear()
        dict.update(old, items)
    elif kind is set:
        old.clear()
        old.update(new)
    elif kind is bytearray:
        old[:] = new
    elif kind is tuple and len(old) == len(new):
        for pair in zip(old, new, strict=True):
            _merged(*pair)
    else:
        return new
    return old


class Remote:
    """A function or an object of the program, by its number there, or by its name."""

    __slots__ = ("_client", "_number")

    def __init__(self, client: Client, number: int | str) -> None:
        object.__setattr__(self, "_client", client)
        object.__setattr__(self, "_number", number)

    def __call__(self, /, *values: object, **named: object) -> Any:  # noqa: ANN401
        return self._client.ask("call", self, *values, **named)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return self._client.ask("getattr", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._client.ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._client.ask("delattr", self, name)

    def __deepcopy__(self, _: object) -> Any:  # noqa: ANN401
        return self._client.ask("deepcopy", self)

    def __hash__(self) -> int:
        plain = self._client.ask("plain", self)
        return int(self._client.ask("hash", self)) if type(plain) is Remote else hash(plain)

    def __instancecheck__(self, one: object) -> bool:
        return type(one) is Remote and bool(self._client.ask("isinstance", one, self))

    def __subclasscheck__(self, one: object) -> bool:
        return type(one) is Remote and bool(self._client.ask("issubclass", one, self))


def _asking(name: str) -> Callable[..., Any]:
    def ask(self: Remote, *values: object) -> Any:  # noqa: ANN401 - any value
        return self._client.ask(name, self, *values)

    return ask


def _comparing(name: str) -> Callable[..., Any]:
    """Two objects of the program by its own word; one and plain data by plain data alone."""

    def apply(self: Remote, other: object) -> Any:  # noqa: ANN401 - any value
        if type(other) is Remote:
            return self._client.ask(name, self, other)
        plain = self._client.ask("plain", self)
        return NotImplemented if type(plain) is Remote else getattr(operator, name)(plain, other)

    return apply


_ASKED = ("copy", "iter", "next", "len", "str", "repr", "bool", "float", "int", "round", "format")
for _name in (*OTHER, *_ASKED):
    setattr(Remote, f"__{_name}__", _asking(_name))
for _name in BINARY:
    setattr(Remote, f"__{_name.strip('_')}__", _comparing(_name))


class Names(dict[str, Any]):
    """The global names of the checks: their own, then the program's, then Python's.

    Args:
        client: who asks the program.
        checks: how they are run apart, see `qgate.sandbox.one_process.Apart`.
    """

    def __init__(self, client: Client, checks: Mapping[str, Any]) -> None:
        super().__init__(__name__="program")
        self._client, self._checks = client, checks

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - any value
        if hasattr(builtins, name) and name != self._checks["entry"]:
            if name == "type" and name in self._checks["called"]:
                return self._type
            raise KeyError(name)
        judges = self._checks["judges"]
        if name in self._checks["called"] and name not in judges and not hasattr(builtins, name):
            return Remote(self._client, name)
        found = self._client.ask("name", name)
        if name not in judges:
            return found
        module, _, inner = judges[name].partition(":")
        judge = __import__(module)
        return getattr(judge, inner) if inner else judge

    def _type(self, *given: Any) -> Any:  # noqa: ANN401 - any value
        """`type`, where the checks do nothing with it but call it: of objects the program's class.

        By its own word, which is a number at most: never a class of Python's.
        """
        is_theirs = len(given) == 1 and type(given[0]) is Remote
        return self._client.ask("type", *given) if is_theirs else type(*given)
