"""A stage's log: in its directory with the time of each line, and on the terminal; without secrets, on either."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.errors import one_line
from bbjspec.redact import redacted

LOG, ENGINE_LOG = "stage.log", "engine.log"


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written, on a full disk, is no reason to print frames."""


class _Plain(logging.Formatter):
    """Without secrets and signs that a terminal obeys: messages quote what servers, libraries and files say."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(one_line, redacted(super().format(record)).expandtabs().split("\n")))


class _Console(_Plain):
    def formatException(self, ei: Any) -> str:
        return ""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return f"{record.name.removeprefix('bbjspec.')}: {record.message}"


def stage_log(document: Mapping[str, Any], directory: Path, *, console: bool) -> logging.Logger:
    """The log of the stage that `document` tells of: all of it in `directory`, and on standard error if `console`."""
    log = logging.getLogger(f"bbjspec.{document['kind']} {document['digest'][:8]}")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    plain = _File(directory / LOG, encoding="utf-8")
    # Snakemake removes a job's log before the job runs, and an orphan's words with it: it knows of this link alone.
    with contextlib.suppress(OSError):
        (directory / ENGINE_LOG).unlink(missing_ok=True)
        (directory / ENGINE_LOG).hardlink_to(directory / LOG)
    plain.setFormatter(_Plain("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    log.addHandler(plain)
    if console:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setLevel(logging.INFO)
        terminal.setFormatter(_Console())
        log.addHandler(terminal)
    return log
