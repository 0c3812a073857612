"""bbjcpl's own command line over the embedded checker: the same options, the same lines on stderr, always exit 0.

    bbjcpl [-N] [-t] [-X] [-W] [-P...] FILE... | -@LIST

Nothing is ever written but those lines. bbjcpl does not have two options of ours: `--explain` adds under each line the
rule and a sentence, and `--agreement generations.jsonl` compares the checker with a real bbjcpl on model output.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from bbjspec.bbj.checker import Diagnostic, check
from bbjspec.errors import UsageError

_WITH_VALUE = ("-c", "-CP", "-e", "-d")
_USAGE = "usage: bbjcpl [-N] [-t] [-X] [-W] [-P...] [--explain] FILE... | -@LIST"


def decoded(data: bytes) -> str:
    """A program's text: UTF-8, or Latin-1 where it is not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def stderr_line(name: str, found: Diagnostic) -> str:
    """The line that bbjcpl writes for an error in the file `name`: ten times the line, then the line, from 1."""
    what = "error" if found.label is None else f"error: label {found.label} used but not defined"
    return f"{name}: {what} at line {found.line * 10} ({found.line}): {found.source}"


def main(argv: Sequence[str] | None = None, stderr: TextIO | None = None) -> int:
    """Checks the files of `argv` (without the program's name). Returns 0, as bbjcpl does, whatever it finds.

    Only `--agreement` raises: EnvironmentLacks where there is no bbjcpl, BadInput for a bad file, UsageError.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--agreement" in arguments:
        return _agreement(arguments)
    stream = sys.stderr if stderr is None else stderr
    explain = "--explain" in arguments
    names = list(_files(arguments, stream))
    if not names:
        _print(_USAGE, stream)
    for name in names:
        try:
            source = decoded(Path(name).read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            _print(f"{name}: cannot be read: {reason}", stream)
            continue
        for found in check(source):
            _print(stderr_line(name, found), stream)
            if explain:
                _print(f"    {found.rule}: {found.message}", stream)
    return 0


def _agreement(arguments: Sequence[str]) -> int:
    from bbjspec.bbj.confusion import print_agreement

    names = [argument for argument in arguments if argument != "--agreement"]
    if len(names) != 1:
        raise UsageError("--agreement takes one file: bbjspec cpl --agreement generations.jsonl")
    print_agreement(Path(names[0]), sys.stdout)
    return 0


def _files(arguments: Sequence[str], stream: TextIO) -> Iterator[str]:
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("-@"):
            try:
                listed = decoded(Path(argument[2:]).read_bytes())
            except (OSError, ValueError):
                _print(f"{argument[2:]}: cannot be read: it should list the files, one a line", stream)
                continue
            yield from (line.strip() for line in listed.splitlines() if line.strip())
        elif argument in _WITH_VALUE:
            next(rest, None)
        elif not argument.startswith("-"):
            yield argument


def _print(line: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


if __name__ == "__main__":
    sys.exit(main())
