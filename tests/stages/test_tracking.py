"""Trackers record a real training, and whatever breaks in them, the training's result stays the same to the bit."""

from __future__ import annotations

import gc
import gzip
import json
import logging
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bbjspec.stages import tracking

CONFIG = {"training": {"learning_rate": 0.05, "seed": 7}, "model": {"base": "toy"}}
STEPS = 6


class Toy(torch.nn.Module):
    """A line, with dropout: a tracker that draws a random number would change what it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.dropout = torch.nn.Linear(3, 1), torch.nn.Dropout(0.3)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.line(self.dropout(x))[:, 0] - labels).square().mean()}


class At(transformers.TrainerCallback):
    """Does something once, after a step was logged."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            self.step = -1
            self.act()


def rows(number: int) -> list[dict[str, Any]]:
    values = torch.rand(number, 3, generator=torch.Generator().manual_seed(1))
    return [{"x": row, "labels": row.sum()} for row in values]


def train(work: Path, callbacks: list[Any], resume: bool = False) -> tuple[transformers.TrainerState, torch.Tensor]:
    """The state after the last step; the weights, and a random number drawn after them."""
    args = transformers.TrainingArguments(
        output_dir=str(work),
        use_cpu=True,
        max_steps=STEPS,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=3,
        save_steps=3,
        seed=7,
        report_to="none",
        disable_tqdm=True,
    )
    transformers.set_seed(7)
    trainer = transformers.Trainer(Toy(), args, train_dataset=rows(24), eval_dataset=rows(4), callbacks=callbacks)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=resume or None)
    parameters = [parameter.detach().flatten() for parameter in trainer.model.parameters()]
    return trainer.state, torch.cat([*parameters, torch.rand(1)])


def trackers(
    directory: Path, *, wandb: Mapping[str, Any] | None = None, resumed_at: int | None = None, run_id: str = "f00d"
) -> list[Any]:
    asked = {"project": "bbj", "entity": None, **wandb} if wandb is not None else None
    log = logging.getLogger("test.tracking")
    return tracking.callbacks(directory, {"wandb": asked, "name": "toy"}, CONFIG, resumed_at, log, run_id=run_id)


OFFLINE = {"mode": "offline"}
ONLINE = {"mode": "online"}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[transformers.TrainerState, torch.Tensor]:
    return train(tmp_path_factory.mktemp("untracked"), [])


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no account, an empty home, and a server that is not there."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    return home


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "test.tracking"]


def points(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars as TensorBoard reads them: (step, value) by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected(state: transformers.TrainerState, name: str, logged: str) -> list[tuple[int, float]]:
    return [(entry["step"], pytest.approx(entry[logged])) for entry in state.log_history if logged in entry]


def records(data: bytes) -> Iterator[bytes]:
    """The records of a W&B file: after 7 bytes, LevelDB's log format (blocks of 32 KiB, records cut into chunks)."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (1 << 15) - at % (1 << 15) < 7:  # no room for a chunk's header: zeros
            at += -at % (1 << 15)
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last chunk
            yield record
            record = b""


def history(file: Path) -> list[dict[str, Any]]:
    """What a W&B file holds: the configuration, then one mapping a step."""
    from wandb.proto import wandb_internal_pb2

    config: dict[str, Any] = {}
    found: list[dict[str, Any]] = [config]
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if items := record.history.item:
            found.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
    return found


def test_tensorboard_has_what_was_logged(tmp_path: Path, untracked: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state, result = train(tmp_path / "work", trackers(tmp_path / "board"))
    assert torch.equal(result, untracked[1])
    found = points(tmp_path / "board")
    assert found["train/loss"] == expected(state, "train/loss", "loss")
    assert found["eval/loss"] == expected(state, "eval/loss", "eval_loss")
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert {"train/learning_rate", "train/grad_norm"} <= set(found)
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    (text,) = events.Tensors("config/text_summary")
    assert json.loads(text.tensor_proto.string_val[0]) == CONFIG
    assert [path.name for path in (tmp_path / "board").iterdir()] == ["events.out.tfevents.0000000000"]


def killed(tmp_path: Path, step: int, **options: Any) -> None:
    def kill() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "work", [*trackers(tmp_path / "board", **options), At(step, kill)])
    gc.collect()  # closes the pipe to W&B's process, as the end of this process would


def test_points_after_the_checkpoint_of_a_killed_run_vanish(tmp_path: Path, untracked: Any) -> None:
    killed(tmp_path, 5)
    assert [step for step, _ in points(tmp_path / "board")["train/loss"]] == [1, 2, 3, 4, 5]
    state, result = train(tmp_path / "work", trackers(tmp_path / "board", resumed_at=3), resume=True)
    assert torch.equal(result[:-1], untracked[1][:-1])
    found = points(tmp_path / "board")
    assert found["train/loss"] == expected(state, "train/loss", "loss")
    assert found["eval/loss"] == expected(state, "eval/loss", "eval_loss")
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6]


def test_a_run_killed_before_its_first_checkpoint_leaves_no_points(tmp_path: Path) -> None:
    killed(tmp_path, 2)
    train(tmp_path / "work", trackers(tmp_path / "board"))
    assert [step for step, _ in points(tmp_path / "board")["train/loss"]] == [1, 2, 3, 4, 5, 6]


def test_wandb_offline_has_what_was_logged_and_stays_in_its_folder(
    tmp_path: Path, nobody: Path, untracked: Any, caplog: pytest.LogCaptureFixture, server: Server
) -> None:
    before = sorted(Path.cwd().iterdir())
    state, result = train(tmp_path / "work", trackers(tmp_path / "board", wandb=OFFLINE))
    assert torch.equal(result, untracked[1]) and warnings(caplog) == []
    (file,) = (tmp_path / "board/wandb").glob("offline-run-*-f00d/run-f00d.wandb")
    config, *found = history(file)
    assert {key: config[key] for key in CONFIG} == CONFIG
    logged = [(line["train/global_step"], line["train/loss"]) for line in found if "train/loss" in line]
    assert logged == expected(state, "train/loss", "loss")
    evaluated = [(line["_step"], line["eval/loss"]) for line in found if "eval/loss" in line]
    assert evaluated == expected(state, "eval/loss", "eval_loss")
    assert not list(nobody.iterdir()) and sorted(Path.cwd().iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"home", "work", "board"}
    assert server.asked == []
    assert str(tmp_path).encode() not in file.read_bytes()


def steps(file: Path) -> list[int]:
    return [line["train/global_step"] for line in history(file)[1:] if "train/loss" in line]


def until(true: Callable[[], bool]) -> None:
    """Wait for what another process does; a killed training's goes on by itself until it is done."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Server:
    """As much of W&B's server as a run needs: `asked` has the requests, `lines` the history that it was sent.

    When it is `silent` it answers no more.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lines: list[dict[str, Any]] = []
        self.silent = self.started = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                data = json.dumps(server.answer(self.path, json.loads(body or b"{}"))).encode()
                if server.silent:
                    time.sleep(30)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, body))
        if path == "/files/e/bbj/f00d/file_stream":
            if sent := (body.get("files") or {}).get("wandb-history.jsonl"):
                found = [json.loads(line) for line in sent["content"]]
                self.lines[sent["offset"] : sent["offset"] + len(found)] = found
            return {}
        project = {"id": "p", "name": "bbj", "entity": {"id": "e", "name": "e"}}
        bucket: dict[str, Any] = {"id": "b", "name": "f00d", "displayName": "toy", "description": "", "config": "{}"}
        bucket |= {"sweepName": None, "project": project, "historyLineCount": len(self.lines)}
        asked = body.get("operationName")
        if asked == "UpsertBucket":
            self.started = True
            return {"data": {"upsertBucket": {"inserted": True, "bucket": bucket}}}
        if asked == "RunResumeStatus":
            tail = json.dumps([json.dumps(line) for line in self.lines[-1:]])
            bucket |= {"historyTail": tail, "eventsTail": "[]", "summaryMetrics": "{}", "wandbConfig": '{"t": 1}'}
            bucket |= {"logLineCount": 0, "eventsLineCount": 0, "tags": [], "notes": ""}
            return {"data": {"model": project | {"bucket": bucket if self.started else None}}}
        return {"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}}}

    def operations(self) -> list[str]:
        return [body["operationName"] for path, body in self.asked if path == "/graphql"]

    def steps(self) -> list[int]:
        return [line["train/global_step"] for line in self.lines if "train/loss" in line]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{made.http.server_port}")
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)


@pytest.mark.usefixtures("account")
def test_wandb_online_sends_metrics_and_the_config_alone(
    tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture, server: Server
) -> None:
    state, result = train(tmp_path / "work", trackers(tmp_path / "board", wandb=ONLINE))
    assert torch.equal(result, untracked[1]) and warnings(caplog) == []
    logged = [(line["train/global_step"], line["train/loss"]) for line in server.lines if "train/loss" in line]
    assert logged == expected(state, "train/loss", "loss")
    assert set(server.operations()) == {"RunResumeStatus", "UpsertBucket", "CreateRunFiles"}
    files = [body["variables"]["files"] for _, body in server.asked if body.get("operationName") == "CreateRunFiles"]
    assert {name for names in files for name in names} == {"config.yaml", "wandb-summary.json"}
    sent = json.dumps(server.asked)
    assert "learning_rate" in sent
    for private in (str(tmp_path), str(Path.cwd()), f'"{os.uname().nodename}\\"', "test_tracking", sys.executable):
        assert private not in sent and private not in sent.replace("\\", "")


@pytest.mark.usefixtures("account")
def test_a_resumed_training_goes_on_in_its_wandb_run(tmp_path: Path, server: Server) -> None:
    killed(tmp_path, 5, wandb=ONLINE)
    until(lambda: server.steps() == [1, 2, 3, 4, 5])
    train(tmp_path / "work", trackers(tmp_path / "board", wandb=ONLINE, resumed_at=3), resume=True)
    assert server.steps() == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("account")
def test_the_files_of_a_killed_and_resumed_training_sync_as_one_run(tmp_path: Path, server: Server) -> None:
    killed(tmp_path, 4, wandb=OFFLINE)
    train(tmp_path / "work", trackers(tmp_path / "board", wandb=OFFLINE, resumed_at=3), resume=True)
    first = min((tmp_path / "board/wandb").glob("offline-run-*-f00d*/run-f00d.wandb"))
    until(lambda: steps(first) == [1, 2, 3, 4])
    moved = (tmp_path / "board").rename(tmp_path / "published")
    command = [sys.executable, "-m", "wandb", "sync", str(moved / "wandb")]
    subprocess.run(command, check=True, timeout=60, cwd=tmp_path, env={**os.environ, "WANDB_ERROR_REPORTING": "false"})
    assert server.steps() == [1, 2, 3, 4, 4, 5, 6]


@pytest.mark.usefixtures("account")
def test_a_server_that_falls_silent_costs_a_bounded_wait(
    tmp_path: Path,
    untracked: Any,
    caplog: pytest.LogCaptureFixture,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "UPLOAD", 1.0)

    def silence() -> None:
        until(lambda: "UpsertBucket" in server.operations())
        server.silent = True

    _, result = train(tmp_path / "work", [*trackers(tmp_path / "board", wandb=ONLINE), At(3, silence)])
    assert torch.equal(result, untracked[1])
    text = "not all was uploaded within 1 s; `wandb sync` does the rest, see docs/tracking.md"
    assert warnings(caplog) == [f"Weights & Biases: {text}"]


def test_without_an_account_a_run_is_recorded_offline(
    tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, result = train(tmp_path / "work", trackers(tmp_path / "board", wandb=ONLINE))
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == [
        "Weights & Biases: no connection: No API key configured. Use `wandb login` to log in.; recorded offline, "
        "`wandb sync` uploads it, see docs/tracking.md"
    ]
    (file,) = (tmp_path / "board/wandb").glob("offline-run-*-f00d/run-f00d.wandb")
    assert steps(file) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("account")
def test_without_a_server_a_run_is_recorded_offline(
    tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "CONNECT", 1.0)
    _, result = train(tmp_path / "work", trackers(tmp_path / "board", wandb=ONLINE))
    assert torch.equal(result, untracked[1])
    (said,) = warnings(caplog)
    assert said.startswith("Weights & Biases: no connection: ") and "; recorded offline, `wandb sync`" in said
    (file,) = (tmp_path / "board/wandb").glob("offline-run-*-f00d/run-f00d.wandb")
    assert steps(file) == [1, 2, 3, 4, 5, 6]


def only(callbacks: list[Any], index: int) -> list[Any]:
    """TensorBoard (0) or W&B (1) alone."""
    return [callbacks[index]]


def stopped(name: str, reason: str) -> list[str]:
    return [f"{name} stopped: {reason}; training goes on without it"]


def test_tensorboard_without_a_folder(tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "board").write_text("a file")
    _, result = train(tmp_path / "work", trackers(tmp_path / "board"))
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("TensorBoard", f"[Errno 17] File exists: '{tmp_path / 'board'}'")


def test_tensorboard_whose_folder_is_removed(tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture) -> None:
    import shutil

    gone = At(2, lambda: shutil.rmtree(tmp_path / "board"))
    _, result = train(tmp_path / "work", [*trackers(tmp_path / "board"), gone])
    assert torch.equal(result, untracked[1]) and warnings(caplog) == []  # the open file is still there to write to


def test_tensorboard_on_a_full_disk(tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Full(transformers.TrainerCallback):  # every file is at its largest while step 2 is logged
        def __init__(self, inside: Any) -> None:
            self.inside = inside

        def on_train_begin(self, *arguments: Any, **more: Any) -> None:
            self.inside.on_train_begin(*arguments, **more)

        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
            try:
                self.inside.on_log(args, state, control, **more)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        def on_train_end(self, *arguments: Any, **more: Any) -> None:
            self.inside.on_train_end(*arguments, **more)

    _, result = train(tmp_path / "work", [Full(tracker) for tracker in trackers(tmp_path / "board")])
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("TensorBoard", "[Errno 27] File too large")
    assert [step for step, _ in points(tmp_path / "board")["train/loss"]] == [1]


def test_wandb_that_is_not_installed(
    tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    _, result = train(tmp_path / "work", trackers(tmp_path / "board", wandb=OFFLINE))
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("Weights & Biases", "it is not installed (pip install bbjspec[wandb])")
    assert [step for step, _ in points(tmp_path / "board")["train/loss"]] == [1, 2, 3, 4, 5, 6]


RUN = """
class Settings(dict): pass
class Run:
    def define_metric(self, *_, **__): pass
    def log(self, *_, **__): {log}
    def finish(self, **_): {finish}
def init(**_): {init}
"""
BROKEN = {
    "at import": ("raise ImportError('libfoo is missing\\nand more')", "libfoo is missing"),
    "at init": (
        RUN.format(init="raise OSError(28, 'No space left')", log="pass", finish="pass"),
        "[Errno 28] No space left",
    ),
    "at log": (RUN.format(init="return Run()", log="raise RuntimeError", finish="pass"), "RuntimeError"),
    "at finish": (RUN.format(init="return Run()", log="pass", finish="1 / 0"), "division by zero"),
    "by a crash": ("import os; os.abort()", "its process ended"),
    "by exit": ("raise SystemExit(3)", "3"),
}


@pytest.mark.parametrize("where", BROKEN)
def test_wandb_that_breaks(
    where: str, tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, reason = BROKEN[where]
    (tmp_path / "broken/wandb").mkdir(parents=True)
    (tmp_path / "broken/wandb/__init__.py").write_text(code + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    callbacks = only(trackers(tmp_path / "board", wandb=OFFLINE), 1)
    _, result = train(tmp_path / "work", [*callbacks, At(4, lambda: time.sleep(0.5))])
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("Weights & Biases", reason)


def test_wandb_whose_folder_cannot_be_made(tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board/wandb").write_text("a file")
    _, result = train(tmp_path / "work", only(trackers(tmp_path / "board", wandb=OFFLINE), 1))
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("Weights & Biases", f"[Errno 17] File exists: '{tmp_path / 'board/wandb'}'")


def children(parent: int, named: str) -> list[int]:
    """Processes that `parent` started, oldest first, once there is one with such a word in its command line."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        pids = [pid for task in tasks for pid in (task / "children").read_text().split()]
        if found := [int(pid) for pid in pids if named in Path(f"/proc/{pid}/cmdline").read_text()]:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {named} under process {parent}")


def child() -> int:
    """W&B's process of the training under way."""
    return max(children(os.getpid(), "wandb_child"))


def service() -> int:
    """W&B's service of the training under way."""
    return children(child(), "wandb-core")[0]


def test_wandb_whose_process_is_killed(tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture) -> None:
    callbacks = only(trackers(tmp_path / "board", wandb=OFFLINE), 1)

    def kill() -> None:
        os.kill(child(), signal.SIGKILL)
        time.sleep(0.2)

    _, result = train(tmp_path / "work", [*callbacks, At(3, kill)])
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("Weights & Biases", "its process ended")


def test_wandb_whose_service_is_killed(tmp_path: Path, untracked: Any, caplog: pytest.LogCaptureFixture) -> None:
    def kill() -> None:
        os.kill(service(), signal.SIGKILL)
        time.sleep(0.5)

    _, result = train(tmp_path / "work", [*only(trackers(tmp_path / "board", wandb=OFFLINE), 1), At(3, kill)])
    assert torch.equal(result, untracked[1])
    (said,) = warnings(caplog)
    assert said.startswith("Weights & Biases stopped: ") and said.endswith("; training goes on without it")


@pytest.mark.parametrize("which", [child, service])
def test_wandb_that_hangs(
    which: Callable[[], int],
    tmp_path: Path,
    untracked: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    halted: list[int] = []

    def halt() -> None:
        halted.append(which())
        os.kill(halted[0], signal.SIGSTOP)

    try:
        _, result = train(tmp_path / "work", [*only(trackers(tmp_path / "board", wandb=OFFLINE), 1), At(3, halt)])
    finally:
        if which is service:
            os.kill(halted[0], signal.SIGKILL)
    assert torch.equal(result, untracked[1])
    assert warnings(caplog) == stopped("Weights & Biases", "it did not finish in 1 s")


def test_wandb_that_reads_nothing_does_not_hold_up_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = only(trackers(tmp_path / "board", wandb=OFFLINE), 1)[0]
    state = transformers.TrainerState(is_world_process_zero=True)
    callback.on_train_begin(None, state, None)
    os.kill(child(), signal.SIGSTOP)
    for state.global_step in range(1, 100_000):
        callback.on_log(None, state, None, logs={"loss": 1.0})
    assert warnings(caplog) == stopped("Weights & Biases", "it reads no more of what is logged")


def test_only_the_main_process_tracks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = transformers.TrainerState(is_world_process_zero=False)
    for callback in trackers(tmp_path / "board", wandb=OFFLINE):
        callback.on_train_begin(None, state, None)
        callback.on_log(None, state, None, logs={"loss": 1.0})
        callback.on_train_end(None, state, None)
    assert not (tmp_path / "board").exists() and warnings(caplog) == []


def test_an_interrupt_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking.TensorBoard, "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "work", trackers(tmp_path / "board"))
