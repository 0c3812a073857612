"""`build/` and what is published of it: manifests, locks, markers, adoption.

A stage's directory is whole when `manifest.json` is there, written last by rename, and every file it lists has the size
it says; `verify` also hashes. `done` is an empty marker for engines: it proves nothing and may be written or removed
at any time. A lock on the directory makes a second `run` of one stage wait for the first instead of doubling it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bbjspec import owner, signals
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, BbjspecError, EnvironmentLacks, Finding, StageFailed, Stopped
from bbjspec.stage import KINDS, Source, Stage, StageRun
from bbjspec.stagelog import LOG, stage_log

MANIFEST, DONE, STAGE, LOCK = "manifest.json", "done", "stage.json", ".lock"
_MADE, _THERE = "whole after", "already whole"  # how the log of a run ends that went well
_LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_LATENCY_S = 60.0  # until what a node has written is seen on every other
_FULL = 65_536  # bytes: with fewer left, whatever could not be written is the disk's fault


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all: to a file beside it, synced, then renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    for last in (False, False, True):
        try:
            with scratch.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(path)
            return
        except FileNotFoundError:  # `sweep` of another process took it for a leftover
            if last:
                raise
        except OSError:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise


def sweep(directory: Path) -> None:
    """Remove what killed writers left in a directory. Who writes there just now writes once more."""
    for scratch in directory.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON in a file, or None when the file is missing or is no JSON: it then counts as not there."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # the last is a nesting of thousands
        return None


def is_whole(directory: Path) -> bool:
    """Whether the manifest is there and each file that it lists has its size. Cheap: no hashing."""
    manifest = read_json(directory / MANIFEST)
    try:
        return isinstance(manifest, dict) and all(
            (directory / name).stat().st_size == entry["size"] for name, entry in manifest["files"].items()
        )
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def corrupted(directory: Path) -> list[str]:
    """Names of the listed files that are missing, cannot be read, or whose bytes are not those of the manifest;
    ["manifest.json"] when there is no manifest, or what stands there is none. Reads everything."""
    manifest = read_json(directory / MANIFEST)
    try:
        listed = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        return [MANIFEST]
    return sorted(name for name, sha256 in listed.items() if not _is(directory / name, sha256))


def _is(file: Path, sha256: str) -> bool:
    try:
        return sha256_file(file) == sha256
    except OSError:
        return False


def stage_document(stage: Stage, adopt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `stage.json` holds: all that `run` needs, in relative paths. `adopt` names published copies of outputs."""
    return {
        "kind": stage.kind,
        "version": stage.version,
        "digest": stage.digest,
        "lineage": stage.lineage,
        "config": stage.config,
        "inputs": {role: upstream.directory for role, upstream in stage.inputs.items()},
        "sources": {
            role: {"files": source.files, "sha256": source.sha256, "view": source.view}
            for role, source in stage.sources.items()
        },
        "resources": stage.resources,
        "adopt": adopt,
    }


def prepare(root: Path, stage: Stage, adopt: Mapping[str, Any] | None = None) -> Path:
    """Write the stage's `stage.json` unless it stands there already. Returns its path."""
    path = root / stage.directory / STAGE
    document = json.loads(json.dumps(stage_document(stage, adopt)))
    if read_json(path) != document:
        write_json(path, document)
    return path


@contextlib.contextmanager
def locked(directory: Path, log: logging.Logger) -> Iterator[int]:
    """Hold the directory for this process; wait, saying so, while another has it. A dead one's lock is freed.

    Gives the lock's descriptor: a child process that inherits it holds the directory as long as it lives.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            log.info("waiting: %s is already at work on this", stream.read().strip() or "another process")
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        stream.truncate()
        stream.write(f"{owner.who()}\n")
        stream.flush()
        yield stream.fileno()


def ended_silently(directory: Path, since: float) -> bool:
    """Whether a stage was at work since then (seconds since 1970), is no more, and its log has no end."""
    try:
        if (directory / LOG).stat().st_mtime < since:
            return False
        with (directory / LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if owner.elsewhere(directory):
            return False
        last = (directory / LOG).read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
    except OSError:  # never begun, or still at work
        return False
    return " ERROR " not in last and not last.partition(" INFO ")[2].startswith((_MADE, _THERE))


def read_stage(path: Path) -> tuple[Path, dict[str, Any]]:
    """The directory, absolute, and the document of a `stage.json`. Raises BadInput when it is not one."""
    path = Path(os.path.abspath(path))  # noqa: PTH100  no link is followed: build/ may be one, onto another disk
    document = read_json(path)
    known = isinstance(document, dict) and all(isinstance(document.get(key), str) for key in ("kind", "digest"))
    if not known or len(path.parents) < 4:
        raise BadInput([Finding(str(path.name), 0, 0, "", "not a stage.json; the engines get theirs from the plan")])
    return path.parent, document


def run(path: Path, *, console: bool = True) -> None:
    """Do a stage's work, or find it done. Raises what the stage raises, as BbjspecError; the log has the details."""
    directory, document = read_stage(path)
    root = directory.parents[2]
    try:
        log = stage_log(document, directory, console=console)
        with (
            signals.heeded(signals.interrupt),
            _interruptible(log, console),
            locked(directory, log),
            owner.owned(directory, log),
        ):
            _run(root, document, directory, log, console)
    except OSError as error:
        raise _as_ours(document, directory, error) from error


@contextlib.contextmanager
def _interruptible(log: logging.Logger, console: bool) -> Iterator[None]:
    """Where a stage saves nothing more on request, it ends there. Raises Stopped for KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt:
        stopped = Stopped("interrupted; run the same command again, and it goes on from what is saved")
        log.error("%s", stopped)
        stopped.told = console
        raise stopped from None


def _run(root: Path, document: Mapping[str, Any], directory: Path, log: logging.Logger, console: bool) -> None:
    """`run`, with the directory locked."""
    if (directory / MANIFEST).exists():
        wrong = corrupted(directory)
        if not wrong:
            (directory / DONE).touch()
            log.info(_THERE)
            return
        log.info("made again: %s is not what the manifest says", wrong[0])
        (directory / MANIFEST).unlink()
    (directory / DONE).unlink(missing_ok=True)
    sweep(directory)
    started = time.monotonic()
    try:
        if document["kind"] == "publish":
            from bbjspec import publish

            publish.run(root, document, log)
            (directory / DONE).touch()
        elif document.get("adopt"):
            _adopt(root, directory, document, log)
        else:
            _work(root, directory, document, log)
    except Exception as error:
        failed = error if isinstance(error, BbjspecError) else _as_ours(document, directory, error)
        if failed is not error:
            log.debug("details", exc_info=True)
        log.error("%s", failed)
        failed.told = console
        if failed is error:
            raise
        raise failed from error
    log.info(f"{_MADE} %.1f s", time.monotonic() - started)


def _as_ours(document: Mapping[str, Any], directory: Path, error: Exception) -> BbjspecError:
    """What went wrong, as one line: the machine's fault where the system says so, else the stage's."""
    here = f"build/{document['kind']}/{directory.name}"
    if isinstance(error, OSError) and error.errno in _LACKING:
        return EnvironmentLacks(f"{document['kind']}: {error.strerror}: {error.filename or here}")
    said = " ".join(str(error).split())[:300]
    # Libraries that write files of their own say it in words, or not at all.
    full = os.strerror(errno.ENOSPC)
    if full in said or shutil.disk_usage(directory).free < _FULL:
        return EnvironmentLacks(f"{document['kind']}: {full}: {here}")
    return StageFailed(
        f"{document['kind']} {document['digest']} failed: {type(error).__name__}: {said}; details in {here}/{LOG}"
    )


def _work(root: Path, directory: Path, document: Mapping[str, Any], log: logging.Logger) -> None:
    kind = document["kind"]
    if kind not in KINDS or document["version"] != KINDS[kind].version:
        raise StageFailed(f"{kind} {document['digest']} was planned by another version of bbjspec; plan again")
    for role, upstream in document["inputs"].items():
        if not _appears(root / upstream):
            raise StageFailed(f"{kind} {document['digest']}: its input {role} ({upstream}) is not whole; run again")
    sources = {role: Source(tuple(s["files"]), s["sha256"], s["view"]) for role, s in document["sources"].items()}
    _check_sources(root, kind, sources)
    for name in (*KINDS[kind].outputs, *KINDS[kind].records):
        # What a killed run left behind is no part of this one; only `work` carries over.
        target = directory / name.rstrip("/")
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    log.info("starts")
    module = importlib.import_module(f"bbjspec.stages.{kind}")
    module.run(
        StageRun(
            kind=kind,
            digest=document["digest"],
            root=root,
            directory=directory,
            config=document["config"],
            inputs={role: root / upstream for role, upstream in document["inputs"].items()},
            sources={role: [root / name for name in source.files] for role, source in sources.items()},
            resources=document["resources"],
            log=log,
        )
    )
    _check_sources(root, kind, sources)
    _finish(directory, document)


def _appears(directory: Path) -> bool:
    """`is_whole`; in a job of a cluster, given the time that its file system takes to show what another node wrote."""
    end = time.monotonic() + (_LATENCY_S if "SLURM_JOB_ID" in os.environ else 0.0)
    while not (whole := is_whole(directory)) and time.monotonic() < end:
        time.sleep(1)
        with contextlib.suppress(OSError):
            next(directory.iterdir(), None)  # makes NFS forget what was not there
    return whole


def _check_sources(root: Path, kind: str, sources: Mapping[str, Source]) -> None:
    from bbjspec.sources import source_digest

    for role, source in sources.items():
        if source_digest([root / name for name in source.files], source.view) != source.sha256:
            raise StageFailed(f"{kind}: {role} ({', '.join(source.files)}) changed after the plan was made; run again")


def _finish(directory: Path, document: Mapping[str, Any]) -> None:
    kind = KINDS[document["kind"]]
    files: dict[str, dict[str, Any]] = {}
    for group, names in (("output", kind.outputs), ("record", kind.records)):
        for name in names:
            target = directory / name.rstrip("/")
            found = sorted(p for p in target.rglob("*") if p.is_file()) if name.endswith("/") else [target]
            for file in found:
                if not file.is_file():
                    raise StageFailed(f"{document['kind']} {document['digest']} made no {name}")
                relative = file.relative_to(directory).as_posix()
                files[relative] = {"sha256": sha256_file(file), "size": file.stat().st_size, "group": group}
    shutil.rmtree(directory / "work", ignore_errors=True)
    _seal(directory, document, files)


def _seal(directory: Path, document: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    write_json(
        directory / MANIFEST,
        {key: document[key] for key in ("kind", "version", "digest", "lineage")} | {"files": files},
    )
    (directory / DONE).touch()


def _adopt(root: Path, directory: Path, document: Mapping[str, Any], log: logging.Logger) -> None:
    """Take the published copies of a stage's outputs, whose hashes the lock file vouches for."""
    from bbjspec.published import verify_file

    files: dict[str, dict[str, Any]] = {}
    for name, entry in document["adopt"].items():
        source, target = root / entry["path"], directory / name
        verify_file(source, entry["path"], entry["sha256"], content=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        files[name] = {"sha256": entry["sha256"], "size": target.stat().st_size, "group": entry["group"]}
    _seal(directory, document, files)
    log.info("taken from what is published")
