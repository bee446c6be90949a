"""Values that the compiled modules of calls/ compute and nobody stores (docs/decisions/0017-compiled.md)."""

from mypy_extensions import mypyc_attr


@mypyc_attr(acyclic=True)
class Value:
    """Equal where its parts are, and never changed once it is made."""

    def parts(self) -> tuple[object, ...]:
        """All of what it tells, in the order of its constructor."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(self) is type(other) and self.parts() == other.parts()

    def __hash__(self) -> int:
        return hash(self.parts())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts()))})"
