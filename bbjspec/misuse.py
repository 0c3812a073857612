"""A wrong command line in one line."""

from __future__ import annotations

import difflib

import typer


def told(error: typer.TyperException) -> str:
    """What is wrong with the command line, in one line, with the nearest name that there is."""
    context = getattr(error, "ctx", None)
    said = " ".join(error.format_message().split()).rstrip(".")
    where = getattr(context, "command_path", "bbjspec")
    if wrong := getattr(error, "option_name", None) if hasattr(error, "possibilities") else None:
        options = [option for each in context.command.get_params(context) for option in each.opts] if context else []
        near = difflib.get_close_matches(wrong, options, 1, 0.5)
        said = f"no such option: {wrong}"
    elif said.startswith("No such command"):
        wrong = said.partition("'")[2].rstrip("'")
        near = difflib.get_close_matches(
            wrong, list(getattr(context.command, "commands", ())) if context else [], 1, 0.5
        )
        said = f"no such command: {wrong}"
    else:
        near, said = [], said[:1].lower() + said[1:]
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"{said}{meant} {where} --help tells more"
