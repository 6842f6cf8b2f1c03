"""A command that also has subcommands: what names none of them goes to the command itself."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

DEFAULT = "default"


class CommandOrGroup(TyperGroup):
    """`evaluate suite …` is the subcommand, `evaluate …` the one that is registered as DEFAULT.

    The latter takes the group's own name and help, so that usage and errors never say DEFAULT.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args and args[0] != DEFAULT and args[0] in self.commands:
            return super().make_context(info_name, args, parent=parent, **extra)
        return self.commands[DEFAULT].make_context(info_name, args, parent=parent, **extra)
