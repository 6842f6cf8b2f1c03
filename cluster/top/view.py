"""The figures of an endpoint as lines for a terminal of 80 columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cluster.top.figures import Figures

_BARS = "▁▂▃▄▅▆▇█"
_TREND = 40  # snapshots
_FULL, _NEARLY_FULL = 0.9, 0.6  # of the queue


class View:
    """Keeps the last pairs per second, for a trend."""

    def __init__(self, url: str) -> None:
        self._url = _printable(url)
        self._trend: deque[float] = deque(maxlen=_TREND)

    def show(self, figures: Figures, health: Mapping[str, Any]) -> RenderableType:
        if figures.pairs_per_s is not None:
            self._trend.append(figures.pairs_per_s)
        return Group(_model(self._url, health, figures), self._load(figures), Text(_scope(figures), "dim"))

    def away(self, problem: str, since_s: float, last: Figures | None, health: Mapping[str, Any]) -> RenderableType:
        """last: what was known before, which is shown again."""
        message = f"{_printable(problem)}\nno answer for {since_s:.0f} s, trying again (Ctrl-C ends)"
        alarm = Panel(Text(message), title="endpoint gone", border_style="red", title_align="left")
        if last is None:
            return alarm
        return Group(alarm, Text("before that:", "dim"), _model(self._url, health, last), self._load(last))

    def _load(self, f: Figures) -> RenderableType:
        left, right = _grid(), _grid()
        _row(left, "scorers", _replicas(f.scorers_running, f.scorers_wanted))
        _row(left, "gateways", _replicas(f.gateways_running, f.gateways_wanted))
        _row(left, "in progress", Text(f"{f.in_progress} requests"))
        pairs = "" if f.queued_pairs is None else f"  ≈{_number(f.queued_pairs)} pairs"
        _row(left, "backlog", Text(f"{_number(f.queued_tokens)} tokens{pairs}"))
        _row(left, "queue full", _gauge(_share(f.queued_tokens, f.queue_limit_tokens), bad=_FULL, poor=_NEARLY_FULL))
        _row(left, "device busy", _gauge(f.device_busy))
        _row(left, "batch fill", _gauge(f.batch_fill))
        _row(right, "pairs/s", Text(_number(f.pairs_per_s), "bold"))
        _row(right, "tokens/s", Text(_number(f.tokens_per_s), "bold"))
        _row(right, "requests/s", Text(_number(f.requests_per_s)))
        _row(right, "429/s", _alarm(f.refused_per_s, "yellow"))
        _row(right, "5xx/s", _alarm(f.failed_per_s, "red"))
        _row(right, "request time", _quantiles(f.request_p50_s, f.request_p99_s))
        _row(right, "queue wait", _quantiles(f.queue_wait_p50_s, f.queue_wait_p99_s))
        both = Table.grid(padding=(0, 2), expand=True)
        both.add_column(ratio=1)
        both.add_column(ratio=1)
        both.add_row(left, right)
        return Panel(Group(both, self._trend_line()), box=box.ROUNDED, border_style="dim")

    def _trend_line(self) -> Text:
        top = max(self._trend, default=0.0)
        bars = "".join(_BARS[round((len(_BARS) - 1) * value / top)] if top else _BARS[0] for value in self._trend)
        return Text.assemble(("pairs/s, at most ", "dim"), _number(top if self._trend else None), " ", (bars, "cyan"))


def _model(url: str, health: Mapping[str, Any], figures: Figures) -> RenderableType:
    def said(name: str) -> str:
        return _printable(str(health.get(name) or ""))

    verified = {True: ("verified", "green"), False: ("unverified", "yellow"), None: ("not known", "dim")}
    how = ", ".join(
        filter(None, (said("dtype"), said("device"), f"{said('forward')} forward" if said("forward") else ""))
    )
    lines = _grid()
    _row(lines, "endpoint", Text(f"{url}  {said('version')}"))
    _row(lines, "model", Text.assemble((said("model") or "?", "bold"), f"  {how}"))
    _row(
        lines,
        "fidelity",
        Text(said("fidelity") or verified[figures.fidelity_verified][0], verified[figures.fidelity_verified][1]),
    )
    if problem := said("problem"):
        _row(lines, "problem", Text(problem, "red"))
    return lines


def _scope(f: Figures) -> str:
    """Whose requests the figures are of: `/metrics` is answered by one gateway."""
    window = "first look: rates come with the next one" if f.seconds is None else f"rates over {f.seconds:.1f} s"
    gateways = f.gateways_running or 1
    if gateways == 1:
        return f"{window}; of the only gateway"
    seen = f"of {f.gateways_seen} of {gateways} gateways, whichever answered in 30 s"
    return f"{window}; {seen}; replicas and model are the cluster's"


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", no_wrap=True, min_width=12)
    grid.add_column(overflow="fold")
    return grid


def _row(grid: Table, name: str, value: Text) -> None:
    grid.add_row(name, value)


def _replicas(running: int | None, wanted: int | None) -> Text:
    if running is None or wanted is None:
        return Text("-", "dim")
    style = "green" if running >= wanted > 0 else "yellow"
    return Text(f"{running} of {wanted}", style)


def _gauge(share: float | None, bad: float = 2.0, poor: float = 2.0) -> Text:
    if share is None:
        return Text("-", "dim")
    filled = round(10 * min(1.0, share))
    style = "red" if share >= bad else "yellow" if share >= poor else "cyan"
    return Text.assemble(("━" * filled, style), ("─" * (10 - filled), "dim"), f" {share:.0%}")


def _quantiles(p50: float | None, p99: float | None) -> Text:
    return Text("-", "dim") if p50 is None else Text(f"p50 {_seconds(p50)}  p99 {_seconds(p99)}")


def _alarm(value: float | None, style: str) -> Text:
    return Text(_number(value), style if value else "")


def _share(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:.3g} s"


def _number(value: float | None) -> str:
    """Three digits: 0, 4.2, 310, 12.3k, 4.56M."""
    if value is None:
        return "-"
    for unit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return _three_digits(value / unit) + suffix
    return _three_digits(value)


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 99.95 else f"{value:.0f}"


def _printable(text: str) -> str:
    """What another machine says could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
