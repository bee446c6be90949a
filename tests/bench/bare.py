"""The rival of ingest: a bare Litestar handler that decodes the same body with msgspec and stores nothing."""

import sys

import uvicorn
from litestar import Litestar, post

from calls.events import Event
from calls.facts import EVENT_KINDS


@post([f"/{kind}" for kind in EVENT_KINDS], status_code=200)
async def take(data: Event) -> dict[str, object]:
    return {"status": "stored", "position": len(data.unique_id)}


def main() -> None:
    """Serve on a port; the options are those of adapters.serving."""
    app = Litestar([take], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=75,
        loop="uvloop",
        http="httptools",
        ws="none",
        proxy_headers=False,
    )


if __name__ == "__main__":
    main()
