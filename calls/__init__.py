"""The domain: what Asterisk says, folded into the truth about each call. Pure."""

from importlib.util import find_spec


def is_compiled() -> bool:
    """True where the fold's modules are compiled (docs/decisions/0017-compiled.md), False where they run as written."""
    spec = find_spec("calls.switchboard")
    return spec is not None and not (spec.origin or "").endswith(".py")
