"""What `reranker cluster` prints: a table of nodes and their replicas, and the differences from production."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from cluster.local.deployment import SCORER
from cluster.local.nodes import GPU_RESOURCE
from cluster.local.replicas import Replica, Snapshot
from cluster.local.state import ClusterState


def nodes_table(state: ClusterState, snapshot: Snapshot, title: str) -> Table:
    """One row per node, and one per scorer that has no live node."""
    table = Table("node", "address", "gpu", "replicas", "pid", "state", title=title, title_justify="left")
    placed = [(name, one) for name, deployment in snapshot.deployments.items() for one in deployment.replicas]
    for node in state.nodes:
        up = node.address in snapshot.alive
        on_node = [(name, replica) for name, replica in placed if up and replica.address == node.address]
        table.add_row(
            node.name,
            node.address,
            GPU_RESOURCE if node.gpu else "none",
            "\n".join(_label(name, replica) for name, replica in on_node) or "none",
            "\n".join(str(replica.pid or "") for _, replica in on_node),
            "\n".join(replica.state for _, replica in on_node) or ("up" if up else "[red]lost[/red]"),
        )
    for replica in snapshot[SCORER].replicas:
        if replica.address is None or replica.address not in snapshot.alive:
            table.add_row(
                "[yellow]none[/yellow]", "", "", _label(SCORER, replica), "", f"[yellow]{replica.state}[/yellow]"
            )
    return table


def spinner(text: str, console: Console) -> Live:
    """A spinner that does not capture stdout: inside `connected`, what Ray prints there must go to /dev/null."""
    dots = Spinner("dots", text)
    return Live(dots, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def print_differences(rows: Iterable[tuple[str, str, str]], console: Console) -> None:
    console.print("Deploying [bold]serve_config.yaml[/bold] with these changes:")
    for path, before, after in rows:
        console.print(f"  {path}: {before} → {after}", markup=False, highlight=False, soft_wrap=True)


def _label(deployment: str, replica: Replica) -> str:
    return f"{deployment} {replica.name}"
