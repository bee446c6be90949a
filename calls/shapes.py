"""Shapes: the numbered forms of the bodies that callfold itself writes (docs/decisions/0016-evolution.md).

A body says its shape in ``v``; without it, it is of shape 1. An older shape is read through upcasters, one a shape; a
field that came later with a default needs none. What a host sends has no shape of ours: it is kept as it came, and its
kind says what it is.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from calls.facts import (
    BODIES_RETIRED,
    CALLBACK_REQUESTED,
    CHAT_ASKED,
    CHAT_PAUSED,
    CUSTOMER_FORGOTTEN,
    DELIVERY_EDITED,
    DELIVERY_INTENDED,
    DELIVERY_REFUSED,
    DELIVERY_SENT,
    DELIVERY_WITHDRAWN,
    DIRECTORY_CHANGED,
    RECORDING_ADDED,
    RECORDING_FORGOTTEN,
    SILENCE_OBSERVED,
)

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A body of one shape as one of the next; pure."""

Body = TypeVar("Body")


class UnknownShape(ValueError):
    """A body of a shape that only a newer version knows."""

    def __init__(self, kind: str, shape: int, known: int) -> None:
        super().__init__(
            f"a body of {kind!r} has the shape {shape}, this version knows shapes up to {known}:"
            " use the version that wrote it, or a newer one"
        )
        self.kind, self.shape, self.known = kind, shape, known


class _Stamp(msgspec.Struct, gc=False):
    v: Annotated[int, msgspec.Meta(ge=1)] = 1


_stamp: Final = msgspec.json.Decoder(_Stamp)


class Shapes:
    """The present shape of each kind, and the way there from each older one.

    ``upcasters``: by (kind, shape), what makes the next shape of it. Raises ValueError where they do not lead from
    every shape to the present one, or from one that there is not.
    """

    def __init__(self, present: Mapping[str, int], upcasters: Mapping[tuple[str, int], Upcaster]) -> None:
        wanted = {(kind, shape) for kind, last in present.items() for shape in range(1, last)}
        if odd := sorted(wanted ^ upcasters.keys()):
            raise ValueError(f"upcasters that are missing, or lead nowhere: {odd}")
        self.present, self._upcasters = present, upcasters

    def write(self, kind: str, told: msgspec.Struct) -> bytes:
        """The body of a fact of this kind, in the present shape."""
        shape = self.present[kind]
        if shape == 1:
            return msgspec.json.encode(told)
        return msgspec.json.encode({**msgspec.to_builtins(told), "v": shape})

    def read(self, kind: str, body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
        """A body in any shape, as the present one has it.

        Raises KeyError for a kind that has no shapes, UnknownShape, msgspec.DecodeError for what is not of its shape.
        """
        shape = self.shape_of(kind, body)
        if shape == self.present[kind]:
            return decoder.decode(body)
        told = msgspec.json.decode(body, type=dict[str, Any])
        for older in range(shape, self.present[kind]):
            told = self._upcasters[kind, older](told)
        return msgspec.convert(told, decoder.type)

    def knows(self, kind: str, body: bytes) -> bool:
        """False where only a newer version can read a body of this kind."""
        try:
            self.shape_of(kind, body)
        except UnknownShape:
            return False
        except msgspec.DecodeError:
            return True  # of no shape: whoever reads it says so
        return True

    def shape_of(self, kind: str, body: bytes) -> int:
        """The shape of a body; raises as ``read``."""
        known = self.present[kind]
        shape = _stamp.decode(body).v
        if shape > known:
            raise UnknownShape(kind, shape, known)
        return shape


SHAPES: Final = Shapes(
    present={
        SILENCE_OBSERVED: 1,
        RECORDING_ADDED: 1,
        RECORDING_FORGOTTEN: 1,
        DIRECTORY_CHANGED: 1,
        DELIVERY_INTENDED: 1,
        DELIVERY_SENT: 1,
        DELIVERY_EDITED: 1,
        DELIVERY_WITHDRAWN: 1,
        DELIVERY_REFUSED: 1,
        CALLBACK_REQUESTED: 1,
        CHAT_ASKED: 1,
        CHAT_PAUSED: 1,
        CUSTOMER_FORGOTTEN: 1,
        BODIES_RETIRED: 1,
    },
    upcasters={},
)
"""Of all kinds that callfold itself adds."""
