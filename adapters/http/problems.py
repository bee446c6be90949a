"""Errors of the HTTP side as ``application/problem+json`` (RFC 9457)."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

CONTENT_TYPE: Final = "application/problem+json"
_SANE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Problem(Exception):
    """An answer that is no success; ``detail`` names what, where and what is allowed."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def problem_body(status: int, detail: str, request_id: str) -> bytes:
    """The body of a problem answer."""
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        }
    )


def request_id(told: str, new: Callable[[], str]) -> str:
    """The caller's X-Request-ID if it is a sane one, else one of ours."""
    return told if _SANE.fullmatch(told) else new()
