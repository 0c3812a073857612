"""A base from the Hub, by a server on this machine that speaks as much of the Hub as huggingface_hub asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bbjspec import store
from bbjspec.stage import Stage
from tests.harness import environment
from tests.stages import tiny

COMMIT = hashlib.sha1(b"the right one").hexdigest()
WRONG = hashlib.sha1(b"a wrong one").hexdigest()


class Hub(BaseHTTPRequestHandler):
    """`org/pico` at one commit, and `org/gated`, which one may list but not read."""

    files: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"", X_Error_Code=code, X_Error_Message=f"{code}, says the Hub")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        asked = re.fullmatch(r"/(?:api/models/)?(org/\w+)/(?:(tree|revision)/([^/]+)|resolve/([^/]+)/(.+))", path)
        assert asked is not None, self.path
        model, what, listed, resolved, name = asked.groups()
        there = sorted(file.name for file in self.files.iterdir())
        if model not in ("org/pico", "org/gated"):
            self._refuse(401 if "secret" in model else 404, "RepoNotFound")
        elif (listed or resolved) not in (COMMIT, "main"):
            self._refuse(404, "RevisionNotFound")
        elif what == "revision":
            self._answer(200, json.dumps({"id": model, "sha": COMMIT, "siblings": []}).encode())
        elif what == "tree":
            entries = [
                {"type": "file", "path": one, "size": (self.files / one).stat().st_size, "oid": self._etag(one)}
                for one in there
            ]
            self._answer(200, json.dumps(entries).encode(), Content_Type="application/json")
        elif model == "org/gated":
            self._refuse(403 if "token" in str(self.headers.get("Authorization")) else 401, "GatedRepo")
        elif name not in there:
            self._refuse(404, "EntryNotFound")
        else:
            body = (self.files / name).read_bytes()
            self._answer(200, body, ETag=f'"{self._etag(name)}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET

    def _etag(self, name: str) -> str:
        return hashlib.sha1((self.files / name).read_bytes()).hexdigest()


@contextlib.contextmanager
def serving(files: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def files(built: Path, tmp_path: Path) -> Path:
    """Tokenizer and weights of the smallest model, as a model's repository has them."""
    folder = tmp_path / "files"
    shutil.copytree(built / "tokenizer/tokenizer", folder)
    return Path(shutil.copytree(built / "base/model", folder, dirs_exist_ok=True))


def asking(root: Path, endpoint: str, *paths: Path, **more: str) -> subprocess.Popen[str]:
    """`bbjspec run` of these stages, one after the other, where the Hub is at `endpoint` and its cache is empty."""
    home = {"HF_ENDPOINT": endpoint, "HF_HOME": str(root / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    outer = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "CUDA_VISIBLE_DEVICES")
    mine = {name: value for name, value in environment().items() if name not in outer} | home | more
    line = " && ".join(f'"{sys.executable}" -m bbjspec run "{path}"' for path in paths)
    return subprocess.Popen(
        line, shell=True, cwd=root, env=mine, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def tokenizer_of(root: Path, base: str, revision: str) -> Path:
    """The stage.json of the stage that fetches the tokenizer."""
    return store.prepare(root, Stage("tokenizer", {"base": base, "revision": revision, "recipe": None}))


def nothing_made(path: Path) -> bool:
    left = {one.name for one in path.parent.iterdir() if not (one.is_dir() and not any(one.iterdir()))}
    return left == {"stage.json", "stage.log", "engine.log", ".lock"}


@pytest.fixture(scope="module", autouse=True)
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.Popen[str]]:
    """A stage that asks where nobody answers. It tries for 23 seconds: the tests in between need not wait for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path = tokenizer_of(tmp_path_factory.mktemp("unreachable"), "org/pico", COMMIT)
    return path, asking(path.parents[3], f"http://127.0.0.1:{port}", path)


NOT_CACHED = (
    "not in this machine's Hub cache and the Hub cannot be reached; run this stage once where there is a network "
    "(`hf download {base} --revision {revision}` does it by hand), or set HF_HOME to a cache that has it"
)
GATED = "access is gated; accept its licence on the Hub and log in with `hf auth login`"
UNKNOWN = "the Hub has no such model, or it is private and you are not logged in"
REFUSALS = [
    ("org/pico", WRONG, {}, 1, "the Hub has no such revision; copy a commit hash from the model's history"),
    ("org/pico", "no-such-branch", {}, 1, "the Hub has no such revision; copy a commit hash from the model's history"),
    ("org/none", COMMIT, {}, 1, UNKNOWN),
    ("org/secret", COMMIT, {}, 1, UNKNOWN),
    ("org/gated", COMMIT, {}, 3, GATED),
    ("org/gated", COMMIT, {"HF_TOKEN": "token"}, 3, GATED),
]


def test_what_the_hub_refuses_is_one_line_each(files: Path, tmp_path: Path) -> None:
    with serving(files) as endpoint:
        asked = []
        for number, (base, revision, more, code, why) in enumerate(REFUSALS):
            path = tokenizer_of(tmp_path / str(number), base, revision)
            process = asking(path.parents[3], endpoint, path, **more)
            asked.append((process, path, code, f"{base} at {revision}: {why}"))
        for process, path, code, line in asked:
            out, said = process.communicate(timeout=300)
            name = f"tokenizer {path.parent.name[:8]}"
            assert said.splitlines() == [f"{name}: starts", f"{name}: {line}"]
            assert (process.returncode, out) == (code, "")
            assert nothing_made(path)


def test_a_model_of_the_hub_is_trained_on_without_it_and_named_by_its_commit(
    files: Path, built: Path, tmp_path: Path
) -> None:
    named = {"base": "org/pico", "revision": COMMIT}
    tokenizer = Stage("tokenizer", named | {"recipe": None})
    base = Stage("base", named | {"recipe": None}, {"tokenizer": tokenizer})
    split = Stage("split", {"rows": "print statements"})
    config = {"model": tiny.MODEL | named, "lora": tiny.LORA, "training": tiny.TRAINING | {"max_steps": 2}}
    inputs = {"tokenizer": tokenizer, "base": base, "split": split}
    train = Stage("train", config, inputs, resources=tiny.RESOURCES)
    shutil.copytree(built / "split", tmp_path / split.directory)
    tiny.seal(tmp_path, split)
    paths = [store.prepare(tmp_path, stage) for stage in (tokenizer, base, train)]
    with serving(files) as endpoint:
        process = asking(tmp_path, endpoint, *paths[:2])
        assert process.wait(300) == 0, process.communicate()[1]
    process = asking(tmp_path, endpoint, paths[2])  # nobody is there any more
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0 and "Traceback" not in said, said
    made = json.loads((tmp_path / base.directory / "model.json").read_text())
    assert (made["base"], made["revision"], made["source"]) == ("org/pico", COMMIT, "hub")
    adapter = json.loads((tmp_path / train.directory / "adapter/adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("org/pico", COMMIT)
    log = json.loads((tmp_path / train.directory / "training_log.json").read_text())
    assert [entry["step"] for entry in log["log"]] == [1, 2]
    text = "".join(file.read_text() for file in (tmp_path / train.directory).rglob("*.json"))
    assert str(tmp_path) not in text and os.fspath(files) not in text
    # The cache is gone: what is said tells where the weights come from.
    shutil.rmtree(tmp_path / "home")
    (tmp_path / train.directory / store.MANIFEST).unlink()
    process = asking(tmp_path, endpoint, paths[2])
    said = process.communicate(timeout=300)[1]
    line = f"org/pico at {COMMIT}: " + NOT_CACHED.format(base="org/pico", revision=COMMIT)
    assert process.returncode == 3 and said.splitlines()[-1].endswith(line), said


def test_where_nobody_answers(unreachable: tuple[Path, subprocess.Popen[str]]) -> None:
    path, process = unreachable
    said = process.communicate(timeout=300)[1].splitlines()
    why = NOT_CACHED.format(base="org/pico", revision=COMMIT)
    assert said[-1] == f"tokenizer {path.parent.name[:8]}: org/pico at {COMMIT}: {why}"
    tries = [line for line in said[1:-1] if not re.search(r"Connection refused|Retrying in \d+s \[Retry \d/5\]", line)]
    assert (process.returncode, tries) == (3, []) and nothing_made(path)
