"""The program's end inside the sandbox: does what the checks ask for, knows nothing of them.

What is no plain data stays here and is spoken of by its number. Whatever a program makes of this
process, it can answer with plain data and with numbers alone: the checks judge in another one.
Standard library only: this file is handed to the interpreter as text.
"""

from __future__ import annotations

import builtins
import collections.abc
import json
import operator
import os
from typing import TYPE_CHECKING, Any

from qgate.sandbox.plain_data import Broken, Channel, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 300
"""Characters of what a program's exception says."""
_SCALARS: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (complex, complex.__pos__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
)
"""Of a subclass (an IntEnum): the value itself, in the type that compares."""
_CONTAINERS: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (tuple, lambda value: tuple.__getitem__(value, slice(None))),
    (list, lambda value: list.__getitem__(value, slice(None))),
    (dict, dict.copy),
    (collections.abc.Set, frozenset),
)
BINARY = (
    *("eq", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod"),
    *("and_", "or_", "xor", "matmul", "lshift", "rshift"),
)
OTHER = ("neg", "pos", "invert", "abs", "getitem", "setitem", "delitem")


class Program:
    """A program that has run, and the objects of its that the checks know by number."""

    def __init__(
        self, names: dict[str, Any], channel: Channel, place: Callable[[BaseException], str]
    ) -> None:
        self._names, self._channel, self._place = names, channel, place
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._does: dict[str, Callable[..., Any]] = {
            **{name: getattr(operator, name) for name in (*BINARY, *OTHER)},
            **{one.__name__: one for one in (getattr, setattr, delattr, iter, next, len)},
            **{one.__name__: one for one in (str, repr, bool, hash, isinstance, issubclass)},
            **{one.__name__: one for one in (type, float, int, round, format)},
            "call": lambda called, *values, **named: called(*values, **named),
            "copy": lambda value: __import__("copy").copy(value),
            "deepcopy": lambda value: __import__("copy").deepcopy(value),
            "import": lambda line: exec(line, names),  # noqa: S102 - a line of the checks
            "name": lambda name: names[name],
            "plain": _plain,
        }

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        own = os.getpid()
        while True:
            try:
                asked = self._channel.receive()
            except Broken:
                return
            answer = self._answer(asked)
            if os.getpid() != own:
                os._exit(0)  # a fork of the program; it is the first that is asked
            try:
                self._channel.send(answer)
            except ValueError as error:
                self._channel.send(self._raised(error))

    def _answer(self, asked: Any) -> dict[str, object]:  # noqa: ANN401 - JSON
        try:
            values = [decode(one, self._known) for one in asked["on"]]
            named = {name: decode(one, self._known) for name, one in asked.get("named", {}).items()}
            found = self._does[asked["do"]](*values, **named)
            answer: dict[str, object] = {"value": encode(found, self._other)}
            if asked["do"] == "call":
                after = [encode(one, self._other) for one in (*values[1:], *named.values())]
                before = [*asked["on"][1:], *asked.get("named", {}).values()]
                if json.dumps(after) != json.dumps(before):
                    answer["after"] = after
        except BaseException as error:  # noqa: BLE001 - whatever a program raises is its answer
            return self._raised(error)
        return answer

    def _known(self, tag: str, content: Any) -> Any:  # noqa: ANN401 - any object
        if tag == "error":
            return getattr(builtins, content)
        if type(content) is int:
            return self._objects[content]
        if content not in self._names:
            raise NameError(f"name {content!r} is not defined")
        return self._names[content]

    def _other(self, value: Any) -> object:  # noqa: ANN401 - any object
        kind = type(value)
        for base, reduced in _SCALARS:
            if issubclass(kind, base):
                return encode(reduced(value), self._other)
        if issubclass(kind, type) and issubclass(value, BaseException):
            return {"class": [*self._error(value), self._number(value)]}
        return {"object": self._number(value)}

    def _number(self, value: object) -> int:
        if id(value) not in self._numbers:  # each is kept, so that no other gets its id
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return self._numbers[id(value)]

    def _error(self, kind: type[BaseException]) -> tuple[str, str]:
        """The name of an exception, and of the one of Python's own that it is."""
        own = (one.__name__ for one in kind.__mro__ if getattr(builtins, one.__name__, 0) is one)
        return kind.__name__, next(own)

    def _raised(self, error: BaseException) -> dict[str, object]:
        kind = type(error)
        try:
            said = str(error)
        except BaseException:  # noqa: BLE001 - __str__ is the program's own
            said = ""
        name, own = self._error(kind)
        return {
            "raised": [name, own, self._number(kind)],
            "with": encode(list(error.args), lambda _: said[:_LONGEST]),
            "said": said[:_LONGEST],
            "place": self._place(error),
            # of Python's own nothing more is asked, and it would keep its frames
            "object": self._number(kind if name == own else error),
        }


def _plain(value: Any) -> object:  # noqa: ANN401 - any object
    """The data of a container of the program's own kind; else the value itself."""
    for base, reduced in _CONTAINERS:
        if issubclass(type(value), base):
            return reduced(value)
    return value
