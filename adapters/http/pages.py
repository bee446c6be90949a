"""Signing in, and where ``/`` leads."""

import re
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery, QueryParameter, URLEncodedBody
from litestar.response import Redirect

from adapters.http.api import Guard
from adapters.http.sessions import COOKIE, Sessions

HOME = "/preview"

LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>callfold</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>body{{font:16px system-ui;max-width:26rem;margin:20vh auto;padding:0 1rem;color-scheme:light dark}}
input,button{{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.3rem 0}}</style>
<h1>callfold</h1><p>{said}</p>
<form method="post" action="/login"><input name="next" type="hidden" value="{next}">
<input name="key" type="password" autofocus placeholder="admin token" aria-label="admin token">
<button>Sign in</button></form></html>"""
SAID = "Sign in with the admin token (in DATA_DIR/admin-token), or with the link that the start printed."
WRONG = "That was neither the admin token nor an unused link."


_PAGE_OF_CALL = re.compile(r"/calls/[0-9A-Za-z._%-]+/[0-9A-Za-z._%-]+")


def login_for(path: str) -> str:
    """Where somebody signs in who wanted to see ``path``; back to the page of a call, as messages link to it."""
    return f"/login?next={quote(path, safe='/')}" if _PAGE_OF_CALL.fullmatch(path) else "/login"


def _next(told: str) -> str:
    """Where to go after signing in: to a page of ours that was asked for, never to another site."""
    return told if _PAGE_OF_CALL.fullmatch(told) else HOME


class SignInFirst(Exception):
    """Somebody without a session asked for a page."""


def page_guard(sessions: Sessions) -> Guard:
    """Lets through who has signed in; sends everybody else to ``/login``."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not sessions.allows(connection.headers.get("authorization", ""), connection.cookies):
            raise SignInFirst

    return guard


def login_routes(sessions: Sessions) -> Router:
    """``/login`` with a one-use key or the admin token, and ``/``."""

    def signed_in(then: str) -> Response[None]:
        cookie = Cookie(key=COOKIE, value=sessions.cookie, httponly=True, samesite="lax", path="/")
        return Redirect(_next(then), status_code=303, cookies=[cookie])

    def asked(said: str, then: str, status: int) -> Response[str]:
        return Response(LOGIN.format(said=said, next=_next(then)), status_code=status)

    @get("/login", media_type="text/html")
    async def login(
        key: FromQuery[str] = "", then: Annotated[str, QueryParameter(name="next")] = ""
    ) -> Response[None] | Response[str]:
        if key and sessions.redeem(key):
            return signed_in(then)
        return asked(WRONG, then, 401) if key else asked(SAID, then, 200)

    @post("/login", media_type="text/html")
    async def sign_in(
        data: URLEncodedBody[dict[str, str]],
    ) -> Response[None] | Response[str]:
        if sessions.redeem(data.get("key", "")):
            return signed_in(data.get("next", ""))
        return asked(WRONG, data.get("next", ""), 401)

    @get("/")
    async def home() -> Redirect:
        return Redirect(HOME)

    return Router("/", route_handlers=[login, sign_in, home], include_in_schema=False)
