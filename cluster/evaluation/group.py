"""A command that also has subcommands: arguments that name no subcommand go to the command itself."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

DEFAULT = "default"


class CommandOrGroup(TyperGroup):
    """`evaluate suite …` runs the subcommand; any other `evaluate …` runs the command registered as DEFAULT.

    DEFAULT gets the group's own name, so that usage and errors never mention it.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args and args[0] != DEFAULT and args[0] in self.commands:
            return super().make_context(info_name, args, parent=parent, **extra)
        return self.commands[DEFAULT].make_context(info_name, args, parent=parent, **extra)
