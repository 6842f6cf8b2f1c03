"""What a person sees of the cluster: nodes and the replicas on them, and what differs from production."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from cluster.local.deployment import SCORER
from cluster.local.nodes import GPU_RESOURCE
from cluster.local.replicas import Replica, Snapshot
from cluster.local.state import Machines


def nodes_table(machines: Machines, snapshot: Snapshot, title: str) -> Table:
    """A row a node, and one for each scorer that has none."""
    table = Table("node", "address", "gpu", "on it", "pid", "state", title=title, title_justify="left")
    placed = [(name, one) for name, deployment in snapshot.deployments.items() for one in deployment.replicas]
    for node in machines.nodes:
        up = node.address in snapshot.alive
        on_it = [(name, replica) for name, replica in placed if up and replica.address == node.address]
        table.add_row(
            node.name,
            node.address,
            GPU_RESOURCE if node.gpu else "none",
            "\n".join(_label(name, replica) for name, replica in on_it) or "nothing",
            "\n".join(str(replica.pid or "") for _, replica in on_it),
            "\n".join(replica.state for _, replica in on_it) or ("up" if up else "[red]lost[/red]"),
        )
    for replica in snapshot[SCORER].replicas:
        if replica.address is None or replica.address not in snapshot.alive:
            table.add_row(
                "[yellow]none[/yellow]", "", "", _label(SCORER, replica), "", f"[yellow]{replica.state}[/yellow]"
            )
    return table


def working(text: str, console: Console) -> Live:
    """A spinner that leaves stdout alone: Ray prints there what has befallen a node, and `connected` drops it."""
    spinner = Spinner("dots", text)
    return Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def print_differences(rows: Iterable[tuple[str, str, str]], console: Console) -> None:
    console.print("[bold]serve_config.yaml[/bold], but for")
    for where, before, after in rows:
        console.print(f"  {where}: {before} → {after}", markup=False, highlight=False, soft_wrap=True)


def _label(deployment: str, replica: Replica) -> str:
    return f"{deployment} {replica.name}"
