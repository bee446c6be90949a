"""The application that uvicorn serves: the hosts' routes straight, everything else through Litestar."""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from adapters.http import recordings, recover
from adapters.http.ingest import PATHS, Ingest, Receive, Scope, Send
from adapters.http.openapi import hosts_paths
from adapters.http.pages import SignInFirst, login_for
from adapters.http.problems import CONTENT_TYPE, Problem, problem_body, request_id
from adapters.http.recordings import Recordings
from adapters.http.recover import Recover

log = structlog.get_logger(__name__)

REQUEST_ID = "callfold.request_id"


def litestar_app(routes: Sequence[ControllerRouterHandler], version: str) -> Litestar:
    """Everything but the hosts' routes; errors as problem+json, OpenAPI at ``/schema``."""
    config = OpenAPIConfig(title="callfold", version=version, path="/schema", components=[])
    app = Litestar(
        route_handlers=routes,
        exception_handlers={
            Problem: _on_problem,
            SignInFirst: lambda request, _: Redirect(login_for(request.url.path), status_code=303),
            HTTPException: _on_http,
            asyncpg.DataError: _on_data,
            Exception: _on_defect,
        },
        openapi_config=config,
        logging_config=None,
        request_max_body_size=4 * 1024 * 1024,
    )
    app.openapi_schema.paths = {**(app.openapi_schema.paths or {}), **hosts_paths()}
    return app


class Front:
    """Dispatches by path, and names every request."""

    def __init__(
        self,
        ingest: Ingest,
        recordings: Recordings,
        recover: Recover,
        rest: Litestar,
        new_id: Callable[[], str],
    ) -> None:
        self._ingest, self._recordings, self._recover = ingest, recordings, recover
        self._rest, self._new_id = rest, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] in PATHS:
            await self._ingest(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._rest(scope, receive, send)  # type: ignore[arg-type]
            return
        told = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        ident = request_id(told.decode("latin-1"), self._new_id)
        scope.setdefault("state", {})[REQUEST_ID] = ident

        async def named(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", ident.encode())]
            await send(message)

        if scope["path"] == recordings.PATH or scope["path"].startswith(f"{recordings.PATH}/"):
            await self._recordings(scope, receive, named, ident)
            return
        if scope["path"] == recover.PATH:
            await self._recover(scope, receive, named, ident)
            return
        await self._rest(scope, receive, named)  # type: ignore[arg-type]


def _problem(
    request: Request[Any, Any, Any], status: int, detail: str, headers: dict[str, str]
) -> Response[bytes]:
    ident = request.scope.get("state", {}).get(REQUEST_ID, "")
    return Response(
        problem_body(status, detail, ident), status_code=status, media_type=CONTENT_TYPE, headers=headers
    )


def _on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    return _problem(request, error.status, error.detail, error.headers)


def _on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    detail = error.detail
    if error.extra:
        told = error.extra if isinstance(error.extra, list) else [error.extra]
        reasons = [f"{one.get('key', '')}: {one.get('message', '')}" for one in told if isinstance(one, dict)]
        detail = "; ".join([detail, *reasons])
    return _problem(request, error.status_code, detail, dict(error.headers or {}))


def _on_data(request: Request[Any, Any, Any], _: asyncpg.DataError) -> Response[bytes]:
    """PostgreSQL has no such value, so nothing can be found by it: a NUL in a text, a year 0."""
    return _problem(request, 400, "a value in the address or the query cannot stand in the store", {})


def _on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("a request failed", path=request.url.path, exc_info=error)
    return _problem(request, 500, "an error of the service; it is in its log under this request_id", {})
