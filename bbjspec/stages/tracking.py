"""Trackers of a training: TensorBoard always, Weights & Biases where it is asked for. None of them can fail a run.

A tracker that raises says so in one warning and is switched off. W&B runs in a process of its own (`wandb_child.py`),
which is written to without ever waiting for it: nothing that wandb, its service or its server do, or fail to do, can
stop, slow or change the training.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

CONNECT = 8.0  # seconds for the server to answer to a new run, after which it is recorded offline; training goes on
UPLOAD = 5.0  # seconds at the end for what is not uploaded yet
PATIENCE = CONNECT + UPLOAD + 2  # seconds at the end after which W&B's process is killed
CHILD = Path(__file__).with_name("wandb_child.py")
# Who one is, and where the server is. What else W&B reads from the environment would change what is sent.
KEPT = {
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_CREDENTIALS_FILE",
    "WANDB_INSECURE_DISABLE_SSL",
}


class Tracker(Protocol):
    """What records a training. Any method may raise; after that none is called but `abandon`."""

    name: str

    def start(self) -> None:
        """Before the first step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name, after the step's optimizer update."""

    def finish(self) -> None:
        """After the last step."""

    def abandon(self) -> None:
        """Let go of everything, at once."""


class Stopped(Exception):
    """Why a tracker cannot go on."""


def callbacks(
    directory: Path,
    tracking: Mapping[str, Any],
    config: Mapping[str, Any],
    resumed_at: int | None,
    log: logging.Logger,
    *,
    run_id: str,
) -> list[Any]:
    """The TrainerCallbacks of a training, in the main process alone, that write into `directory`.

    `tracking` is `{wandb: null | {project, entity, mode}, name}`. `config` is recorded as it is. `resumed_at` is the
    step of the checkpoint that training goes on from: points of later steps, from a run that was killed, vanish.
    `run_id` names the run at W&B: the same id goes on in the same run.
    """
    trackers: list[Tracker] = [TensorBoard(directory, config, resumed_at)]
    if tracking["wandb"]:
        trackers.append(WeightsAndBiases(directory, tracking, config, run_id, log))
    return [guarded(tracker, log) for tracker in trackers]


def guarded(tracker: Tracker, log: logging.Logger) -> Any:
    """The tracker as a TrainerCallback that raises no Exception: the first one is logged, and the tracker is off."""
    from transformers import TrainerCallback
    from transformers.integrations import rewrite_logs

    class Guarded(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to mypy
        on = True

        def call(self, state: Any, method: Callable[..., None], *arguments: Any) -> None:
            if not self.on or not state.is_world_process_zero:
                return
            try:
                method(*arguments)
            except Exception as error:
                self.on = False
                reason = str(error) or type(error).__name__
                log.warning("%s stopped: %s; training goes on without it", tracker.name, reason)
                with contextlib.suppress(Exception):
                    tracker.abandon()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.call(state, tracker.start)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            values = {name: value for name, value in rewrite_logs(logs).items() if isinstance(value, int | float)}
            self.call(state, tracker.log, state.global_step, values)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.call(state, tracker.finish)

    return Guarded()


class TensorBoard:
    """Events, written at once by whoever logs.

    TensorBoard's own writer has a thread, whose errors surface late and as a traceback, and puts the machine's name
    into the file's.
    """

    name = "TensorBoard"

    def __init__(self, directory: Path, config: Mapping[str, Any], resumed_at: int | None) -> None:
        self._directory, self._config, self._resumed_at = directory, config, resumed_at
        self._file: IO[bytes] | None = None

    def start(self) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from torch.utils.tensorboard.summary import text

        self._directory.mkdir(parents=True, exist_ok=True)
        # Read in the order of their names.
        earlier = len(list(self._directory.glob("events.out.tfevents.*")))
        self._file = (self._directory / f"events.out.tfevents.{earlier:010d}").open("xb")
        self._write(file_version="brain.Event:2")
        if earlier:
            # What readers take as: forget the points of this step and later ones.
            first = 0 if self._resumed_at is None else self._resumed_at + 1
            self._write(step=first, session_log=SessionLog(status=SessionLog.START))
        if not earlier or self._resumed_at is None:
            lines = json.dumps(self._config, indent=2, ensure_ascii=False, default=str).splitlines()
            self._write(step=0, summary=text("config", "\n".join(f"    {line}" for line in lines)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            self._write(step=step, summary=scalar(name, value))

    def finish(self) -> None:
        if self._file is not None:
            self._file.close()

    abandon = finish

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self._file is not None
        RecordWriter(self._file).write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._file.flush()


class WeightsAndBiases:
    """A run at Weights & Biases, kept by another process; files in `directory/wandb`."""

    name = "Weights & Biases"

    def __init__(
        self,
        directory: Path,
        tracking: Mapping[str, Any],
        config: Mapping[str, Any],
        run_id: str,
        log: logging.Logger,
    ) -> None:
        self._directory, self._log = directory.absolute(), log
        self._start = {
            **{key: tracking["wandb"][key] for key in ("project", "entity", "mode")},
            "name": tracking["name"],
            "id": run_id,
            "config": config,
            "directory": str(self._directory),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""  # of the process, not yet a whole line

    def start(self) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise Stopped("it is not installed (pip install bbjspec[wandb])")
        own = self._directory / "wandb"
        own.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if key[:6] != "WANDB_" or key in KEPT}
        folders = {f"WANDB_{kind}_DIR": str(own / "cache") for kind in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],  # -P: this folder's modules are not its own
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=own,
            env={**environment, **folders, "WANDB_ERROR_REPORTING": "false"},
            start_new_session=True,  # an interrupt is for the training; this process ends by itself after it
        )
        self._send({**self._start, "connect": CONNECT, "upload": UPLOAD})
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._listen()
        self._send({"step": step, "values": values})

    def finish(self) -> None:
        assert self._process is not None
        self._listen()
        self._send({"end": True})
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise Stopped(f"it did not finish in {PATIENCE:.0f} s") from error
        self._listen()
        if code:
            raise Stopped("its process ended")
        self.abandon()

    def abandon(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(1)
        for pipe in self._pipes():
            pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, default=str).encode() + b"\n"
        try:
            written = self._pipes()[0].write(line)
        except BrokenPipeError as error:
            self._listen()
            raise Stopped("its process ended") from error
        if written != len(line):
            raise Stopped("it reads no more of what is logged")

    def _listen(self) -> None:
        """Pass on the process's warnings. Raises Stopped with its last words."""
        while heard := self._pipes()[1].read(1 << 16):
            self._said += heard
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            for kind, text in json.loads(line).items():
                if kind == "stopped":
                    raise Stopped(text)
                self._log.warning("%s: %s", self.name, text)
