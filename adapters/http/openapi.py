"""The hosts' routes in the OpenAPI document, which Litestar does not serve and so cannot describe."""

from typing import Final

from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType

from adapters.http.ingest import PATHS

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_EVENT: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="The event as Asterisk's script sends it; unknown fields are kept.",
    required=["Token"],
    properties={"Token": _TEXT, "UniqueId": _TEXT, "BridgeUniqueid": _TEXT, "Linkedid": _TEXT},
)
_STORED: Final = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "status": Schema(type=OpenAPIType.STRING, enum=["stored", "known"]),
        "position": Schema(type=OpenAPIType.INTEGER),
    },
)
_PROBLEM: Final = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "type": _TEXT,
        "title": _TEXT,
        "status": Schema(type=OpenAPIType.INTEGER),
        "detail": _TEXT,
        "request_id": _TEXT,
    },
)
_REASONS: Final = {
    "400": "not JSON, no object, a known field of a wrong type, or no id",
    "401": "Token missing or of no enterprise",
    "403": "the header's Token differs, or the sender is outside the allowed networks",
    "413": "larger than 64 KiB",
    "503": "not committed in time, or this instance stands by; nothing was stored",
}


def hosts_paths() -> dict[str, PathItem]:
    """``POST /start`` … ``/hangup``."""
    return {path: PathItem(post=_operation(kind)) for path, kind in PATHS.items()}


def _operation(kind: str) -> Operation:
    answers: dict[str, OpenAPIResponse | Reference] = {
        "200": OpenAPIResponse(
            description="the event is committed",
            content={"application/json": OpenAPIMediaType(schema=_STORED)},
        )
    }
    for status, reason in _REASONS.items():
        content = {"application/problem+json": OpenAPIMediaType(schema=_PROBLEM)}
        answers[status] = OpenAPIResponse(description=reason, content=content)
    return Operation(
        operation_id=f"host_{kind}",
        summary=f"A host reports {kind}",
        tags=["hosts"],
        parameters=[
            Parameter(name="Token", param_in="header", schema=_TEXT, description="as in the body"),
            Parameter(name="Idempotency-Key", param_in="header", schema=_TEXT),
        ],
        request_body=RequestBody(
            content={"application/json": OpenAPIMediaType(schema=_EVENT)}, required=True
        ),
        responses=answers,
    )
