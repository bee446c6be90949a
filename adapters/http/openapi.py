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
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

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


_RECORDING: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="Where the recording of a leg is. As multipart/form-data also with file in the place of url.",
    required=["Token", "UniqueId"],
    properties={"Token": _TEXT, "UniqueId": _TEXT, "url": _TEXT},
)
_UPLOAD: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="The recording of a leg, up to 50 MiB; Token stands before file.",
    required=["Token", "UniqueId", "file"],
    properties={
        "Token": _TEXT,
        "UniqueId": _TEXT,
        "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY),
    },
)
_KEPT: Final = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "status": Schema(type=OpenAPIType.STRING, enum=["stored", "known"]),
        "position": Schema(type=OpenAPIType.INTEGER),
        "id": _TEXT,
    },
)


def hosts_paths() -> dict[str, PathItem]:
    """``POST /start`` … ``/hangup``, and recordings."""
    return {
        **{path: PathItem(post=_operation(kind)) for path, kind in PATHS.items()},
        "/recordings": PathItem(post=_adding()),
        "/recordings/{id}": PathItem(get=_reading()),
        "/recover": PathItem(post=_recovering()),
    }


def _recovering() -> Operation:
    ndjson = {"application/x-ndjson": OpenAPIMediaType(schema=_TEXT)}
    return Operation(
        operation_id="host_recover",
        summary="A host pushes what it could not deliver",
        description='Each line {"t": …, "event": …, "body": {…}}; an answer for each, and a last one with the counts.',
        tags=["hosts"],
        parameters=[
            Parameter(
                name="Token", param_in="header", schema=_TEXT, description="or the admin token as bearer"
            ),
            *[Parameter(name=name, param_in="query", schema=_TEXT) for name in _RECOVER_BY],
        ],
        request_body=RequestBody(content=ndjson, required=True),
        responses={
            "200": OpenAPIResponse(description="what becomes of each line, as it is known", content=ndjson),
            **_problems(
                {
                    "400": "no such enterprise or time zone",
                    "401": "neither a Token that is known nor the admin token",
                    "403": _REASONS["403"],
                    "408": "nothing came",
                    "413": "larger than 100 MiB",
                    "503": "too many backlogs at once, or this instance stands by",
                }
            ),
        },
    )


_RECOVER_BY: Final = ("enterprise", "timezone", "all", "file")


def _adding() -> Operation:
    return Operation(
        operation_id="host_recording",
        summary="A host has the recording of a leg",
        tags=["hosts"],
        parameters=[Parameter(name="Token", param_in="header", schema=_TEXT, description="as in the body")],
        request_body=RequestBody(
            content={
                "application/json": OpenAPIMediaType(schema=_RECORDING),
                "multipart/form-data": OpenAPIMediaType(schema=_UPLOAD),
            },
            required=True,
        ),
        responses={
            "200": OpenAPIResponse(
                description="it is kept, and the call's messages will tell of it",
                content={"application/json": OpenAPIMediaType(schema=_KEPT)},
            ),
            **_problems(
                {
                    "400": "a field is missing or wrong, or the body broke off",
                    "401": _REASONS["401"],
                    "403": _REASONS["403"],
                    "408": "the body came too slowly",
                    "413": "larger than 50 MiB",
                    "415": "neither JSON nor multipart/form-data",
                    "503": "not committed in time, too many at once, or this instance stands by",
                    "507": "no room on the disk",
                }
            ),
        },
    )


def _reading() -> Operation:
    sound = {"audio/*": OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))}
    return Operation(
        operation_id="recording",
        summary="A recording, for whoever has its link; one range of bytes may be asked for",
        tags=["recordings"],
        parameters=[
            Parameter(name="id", param_in="path", schema=_TEXT, required=True),
            Parameter(name="Range", param_in="header", schema=_TEXT),
        ],
        responses={
            "200": OpenAPIResponse(description="the file", content=sound),
            "206": OpenAPIResponse(description="the part of it that was asked for", content=sound),
            "302": OpenAPIResponse(description="it is elsewhere", content=None),
            "304": OpenAPIResponse(description="it is as it was", content=None),
            **_problems({"404": "there is no such recording", "416": "nothing of it is in the range"}),
        },
    )


def _problems(reasons: dict[str, str]) -> dict[str, OpenAPIResponse | Reference]:
    content = {"application/problem+json": OpenAPIMediaType(schema=_PROBLEM)}
    return {
        status: OpenAPIResponse(description=reason, content=content) for status, reason in reasons.items()
    }


def _operation(kind: str) -> Operation:
    answers: dict[str, OpenAPIResponse | Reference] = {
        "200": OpenAPIResponse(
            description="the event is committed",
            content={"application/json": OpenAPIMediaType(schema=_STORED)},
        ),
        **_problems(_REASONS),
    }
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
