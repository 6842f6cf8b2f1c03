"""`/playground`: one static page that sends the reader's own texts to this endpoint. It asks nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response

PATH = "/playground"
_PAGE = "index.html"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # so that a new version's page never runs with an old script
}


def add_playground(app: FastAPI) -> None:
    """Add a route for each of its files, which are read once."""
    for file in files(__name__).iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            path = PATH if file.name == _PAGE else f"{PATH}/{file.name}"
            app.add_api_route(path, _sender(file.read_bytes(), _TYPES[kind]), include_in_schema=False)


def _sender(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(content, headers=_HEADERS, media_type=media_type)

    return send
