"""The compiler behind one face: BBj's own bbjcpl, or the embedded checker in its place.

bbjcpl always exits 0 and says what is wrong on stderr, a line per error. So silence could mean a sound program or a
compiler that never ran: two canaries, one good and one bad, are in every batch, and whatever is not understood makes
the batch an infrastructure error, never a verdict.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bbjspec.bbj.checker import BUILTIN_VERSION, check
from bbjspec.bbj.process import run_command
from bbjspec.errors import EnvironmentLacks

BATCH = 64
"""Programs per call: a Java machine's start costs most of a call (93 files took 1.5 s at once, 74 s one by one)."""

_GOOD = 'print "canary"\n'
_BAD = 'print "canary"\nprint (((\n'
_BAD_LINE = 2
_ERROR_LINE = re.compile(
    r"(?P<file>.+?): +(?P<message>(?:type check )?error\b.*?) at line \d+ \((?P<line>\d+)\):(?P<source>.*)"
)


@dataclass(frozen=True, slots=True)
class CompileError:
    """One error line: the physical line (from 1), its text, and what the compiler calls it."""

    line: int
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a compiler says of one program. `infra_error` is neither a pass nor a failure; its one error says why."""

    verdict: Literal["valid", "compile_error", "infra_error"]
    errors: tuple[CompileError, ...] = ()


class Compiler(Protocol):
    """Says of programs whether they compile. Nothing is ever run."""

    @property
    def name(self) -> str:
        """The name that a spec gives it."""

    @property
    def version(self) -> str:
        """The version that is part of digests and results."""

    def compile(self, programs: Sequence[str]) -> list[Verdict]:
        """One verdict a program, in their order. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """The embedded checker, in this process. Its verdicts are provisional."""

    name: str = "builtin"
    version: str = str(BUILTIN_VERSION)

    def compile(self, programs: Sequence[str]) -> list[Verdict]:
        """One verdict a program, in their order; never an infrastructure error."""
        return [_judged(CompileError(found.line, found.source, found.message) for found in check(p)) for p in programs]


@dataclass(frozen=True, slots=True)
class Bbjcpl:
    """BBj's compiler, or any command that behaves as it does.

    `timeout` is in seconds, for a batch. A batch without a verdict is tried once more, then its programs one by one as
    long as the canaries alone still come out right: one program that brings the compiler down costs only itself.
    """

    command: tuple[str, ...]
    version: str = "unknown"
    timeout: float = 120.0
    batch: int = BATCH
    name: str = "bbjcpl"

    def compile(self, programs: Sequence[str]) -> list[Verdict]:
        """One verdict a program, in their order."""
        verdicts: list[Verdict] = []
        for start in range(0, len(programs), self.batch):
            verdicts += self._batch(programs[start : start + self.batch])
        return verdicts

    def _batch(self, programs: Sequence[str]) -> list[Verdict]:
        found = self._once(programs)
        if isinstance(found, str):
            found = self._once(programs)
        if not isinstance(found, str):
            return found
        if len(programs) > 1 and not isinstance(self._once([]), str):
            return [verdict for program in programs for verdict in self._alone(program)]
        return [_infra(found)] * len(programs)

    def _alone(self, program: str) -> list[Verdict]:
        found = self._once([program])
        return [_infra(found)] if isinstance(found, str) else found

    def _once(self, programs: Sequence[str]) -> list[Verdict] | str:
        """The verdicts of one call, or why there are none."""
        files = {"good.bbj": _GOOD, **{f"p{i:05d}.bbj": program for i, program in enumerate(programs)}, "bad.bbj": _BAD}
        with tempfile.TemporaryDirectory(prefix="bbjspec-", ignore_cleanup_errors=True) as folder:
            for name, text in files.items():
                Path(folder, name).write_bytes(text.encode("utf-8", "replace"))
            finished = run_command([*self.command, "-N", *files], Path(folder), self.timeout)
        if finished.trouble:
            return finished.trouble
        errors: dict[str, list[CompileError]] = {name: [] for name in files}
        for line in re.split(r"\r?\n", finished.output):
            if not line.strip():
                continue
            match = _ERROR_LINE.fullmatch(line)
            name = re.split(r"[/\\]", match["file"])[-1] if match else ""
            if match is None or name not in errors:
                return f"a line of its output is not understood: {line.strip()[:200]}"
            errors[name].append(CompileError(int(match["line"]), match["source"].removeprefix(" "), match["message"]))
        if errors["good.bbj"] or [error.line for error in errors["bad.bbj"]] != [_BAD_LINE]:
            return "it judges the canaries wrongly: it did not run, or it is no bbjcpl"
        return [_judged(errors[name]) for name in files if name not in ("good.bbj", "bad.bbj")]


def _judged(errors: Iterable[CompileError]) -> Verdict:
    found = tuple(errors)
    return Verdict("compile_error" if found else "valid", found)


def _infra(why: str) -> Verdict:
    return Verdict("infra_error", (CompileError(0, "", why),))


def _open_builtin(version: str | None, path: str | None) -> Compiler:
    if version not in (None, str(BUILTIN_VERSION)):
        raise EnvironmentLacks(
            f"eval.compiler.version: the spec means builtin {version}, but this bbjspec has builtin {BUILTIN_VERSION}: "
            f"write {BUILTIN_VERSION}, or install the bbjspec that has {version}"
        )
    return Builtin()


def _open_bbjcpl(version: str | None, path: str | None) -> Compiler:
    """bbjcpl has no option that tells its version (docs/bbj-facts.md, section 1): BBJ_VERSION has to name it."""
    command = _find(path)
    named = os.environ.get("BBJ_VERSION", "").strip()
    if version is not None and not named:
        raise EnvironmentLacks(
            f"eval.compiler.version: the spec means bbjcpl {version}, and bbjcpl does not tell its version: set the "
            f"environment variable BBJ_VERSION to the version of the BBj that {command[0]} belongs to"
        )
    if version is not None and version != named:
        raise EnvironmentLacks(
            f"eval.compiler.version: the spec means bbjcpl {version}, but BBJ_VERSION says {named}: write {named}, or "
            f"point BBJ_HOME and BBJ_VERSION at BBj {version}"
        )
    return Bbjcpl(command, named or "unknown")


def _find(path: str | None) -> tuple[str, ...]:
    """The command: `path` (a file, or a command with arguments), else PATH, else $BBJ_HOME/bin."""
    looked: list[str] = []
    if path is not None:
        words = [path] if Path(path).exists() else shlex.split(path)
        executable = shutil.which(words[0]) if words else None
        if executable is not None:
            return (str(Path(executable).absolute()), *words[1:])
        looked.append(path)
    else:
        home = os.environ.get("BBJ_HOME")
        places = {"PATH": None, **({f"{home}/bin": f"{home}/bin"} if home else {})}
        for place, folder in places.items():
            executable = shutil.which("bbjcpl", path=folder)
            if executable is not None:
                return (str(Path(executable).absolute()),)
            looked.append(place)
        if not home:
            looked.append("$BBJ_HOME/bin (BBJ_HOME is not set)")
    raise EnvironmentLacks(
        f"eval.compiler.name: bbjcpl was not found in {', '.join(looked)}: install BBj, or write eval.compiler.name: "
        "builtin for provisional verdicts"
    )


COMPILERS: dict[str, Callable[[str | None, str | None], Compiler]] = {"bbjcpl": _open_bbjcpl, "builtin": _open_builtin}
"""The compilers by the name that a spec gives them. Each is opened with the version meant and a path, or None."""


def open_compiler(name: str, version: str | None, path: str | None = None) -> Compiler:
    """The compiler `name`, whose version must be `version` where one is given.

    `path` is bbjcpl's file, or a command with arguments that behaves as bbjcpl does. Raises `EnvironmentLacks` where
    it is missing or has another version.
    """
    if name not in COMPILERS:
        raise EnvironmentLacks(f"eval.compiler.name: there is no compiler {name}: write one of {', '.join(COMPILERS)}")
    return COMPILERS[name](None if version is None else str(version), path)
