"""`reranker top`: what an endpoint does now, until it is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cluster.top.endpoint import Endpoint
    from cluster.top.figures import Figures

_LOOKS = 10  # with several gateways, until one was met twice


def top(
    url: Annotated[str, typer.Argument(metavar="[URL]", help="Base URL of an endpoint.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None,
        typer.Option(envvar="RERANKER_API_KEY", metavar="KEY", help="API key of role admin, if there are keys."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one snapshot, of two looks, and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print it as JSON.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=60, metavar="S", help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch an endpoint: replicas, backlog, speed, waiting and answer times, refusals. It needs `/metrics`, not Ray.

    While the endpoint is away it says so and tries again. Ctrl-C ends. Into a pipe it prints one snapshot.

    Example: `reranker top http://127.0.0.1:8000`
    """
    import sys

    from cluster.top.endpoint import Endpoint
    from reranker.errors import InvalidField

    once = once or not sys.stdout.isatty()
    if as_json and not once:
        raise InvalidField("--json", "prints one snapshot: give --once too")
    with Endpoint(url, api_key) as endpoint:
        if once:
            _print_once(endpoint, interval, as_json=as_json)
        else:
            _watch(endpoint, interval)


def _print_once(endpoint: Endpoint, interval_s: float, *, as_json: bool) -> None:
    """Raises Unavailable."""
    import json
    import time
    from dataclasses import asdict

    from rich.console import Console

    from cluster.top.figures import History
    from cluster.top.view import View

    history = History()
    history.add(endpoint.scrape())
    for _ in range(_LOOKS):
        time.sleep(interval_s)
        history.add(endpoint.scrape())
        if history.has_rates:
            break
    figures, health = history.figures(), endpoint.health()
    if as_json:
        print(json.dumps({"url": endpoint.url} | asdict(figures) | {"health": health}, indent=1))
    else:
        Console().print(View(endpoint.url).show(figures, health))


def _watch(endpoint: Endpoint, interval_s: float) -> None:
    """Until Ctrl-C. Raises InvalidField once an answer says that another look is of no use."""
    import time

    from rich.live import Live

    from cluster.top.endpoint import is_away
    from cluster.top.figures import History
    from cluster.top.view import View
    from reranker.errors import RerankerError

    history, view = History(), View(endpoint.url)
    figures: Figures | None = None
    health: Any = {}
    answered_at = time.monotonic()
    try:
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                started = time.monotonic()
                try:
                    history.add(endpoint.scrape())
                    figures, health = history.figures(), endpoint.health()
                    answered_at = time.monotonic()
                    shown = view.show(figures, health)
                except RerankerError as error:
                    if not is_away(error):
                        raise
                    shown = view.away(str(error), time.monotonic() - answered_at, figures, health)
                live.update(shown, refresh=True)
                time.sleep(max(0.0, interval_s - (time.monotonic() - started)))
    except KeyboardInterrupt:
        return
