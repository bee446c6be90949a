"""A mapping that is never changed: putting an entry gives a new one and costs the square root of its size."""

from collections.abc import Iterator, Mapping
from copy import copy
from math import isqrt
from typing import Final, Self, TypeVar, overload

V = TypeVar("V")
D = TypeVar("D")

_FEW: Final = 16


class Layered(Mapping[str, V]):
    """Text keys, in the order in which they came.

    A large base that versions share lies under a small layer of what was put or taken since; the layer is
    copied with each change and laid into a new base when it has outgrown the root of the base's size.
    Ten thousand customers that come one by one cost tens of milliseconds, plain copies cost a second.
    """

    def __init__(self, entries: Mapping[str, V] | None = None) -> None:
        self._base: dict[str, V] = entries.plain() if isinstance(entries, Layered) else dict(entries or {})
        self._layer: dict[str, V | None] = {}
        self._length = len(self._base)

    def put(self, key: str, value: V) -> Self:
        """The mapping with this entry added or replaced."""
        return self._over({**self._layer, key: value}, self._length + (key not in self))

    def drop(self, key: str) -> Self:
        """The mapping without this entry; itself where there is none."""
        return self._over({**self._layer, key: None}, self._length - 1) if key in self else self

    def plain(self) -> dict[str, V]:
        """A dict of the entries, made with the speed of dicts."""
        taken = {key for key, value in self._layer.items() if value is None}
        put = {key: value for key, value in self._layer.items() if value is not None}
        base = {key: value for key, value in self._base.items() if key not in taken} if taken else self._base
        return {**base, **put}

    def _over(self, layer: dict[str, V | None], length: int) -> Self:
        """The same base under another layer, or a base of its own where the layer has outgrown it."""
        new = copy(self)
        vars(new).update(_layer=layer, _length=length)
        return new if len(layer) <= _FEW + isqrt(len(self._base)) else type(self)(new)

    def __getitem__(self, key: str) -> V:
        value = self._layer[key] if key in self._layer else self._base[key]
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        layer = self._layer
        return (layer[key] is not None) if layer and key in layer else key in self._base

    @overload
    def get(self, key: str, /) -> V | None: ...
    @overload
    def get(self, key: str, /, default: V | D) -> V | D: ...
    def get(self, key: str, /, default: object = None) -> object:
        """As of any mapping; what is missing costs no exception."""
        value = self._layer[key] if self._layer and key in self._layer else self._base.get(key)
        return default if value is None else value

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self._base if key in self)
        yield from (key for key, value in self._layer.items() if value is not None and key not in self._base)

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"Layered({dict(self)!r})"
