"""The back end for servers, against a small server that misbehaves on demand."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bbjspec.errors import BadInput, EnvironmentLacks, StageFailed
from bbjspec.generation import openai
from bbjspec.generation.http import Failed, request_json
from bbjspec.spec.eval import SamplingSpec
from bbjspec.stage import VOLATILE, StageRun
from bbjspec.stages import generate

DIGEST = "sha256:" + "ab" * 32
SAMPLING = SamplingSpec(n=2, max_new_tokens=8, stop=("END",)).model_dump(mode="json")


class Server(ThreadingHTTPServer):
    """Answers what `script` says, then well; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.tags: Any = {"models": [{"name": "m:latest", "digest": "ab" * 32}]}
        self.at_once = self.most_at_once = 0
        self.pause = 0.0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/api/tags" and self.server.tags is not None:
            self.reply(200, json.dumps(self.server.tags).encode())
        else:
            self.reply(404, b"not here")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
            step = self.server.script.pop(0) if self.server.script else None
        time.sleep(self.server.pause)
        try:
            if callable(step):
                step(self)
            elif step is not None:
                self.reply(200, step if isinstance(step, bytes) else json.dumps(step).encode())
            else:
                self.reply(200, json.dumps(completion(f"{body['messages'][-1]['content']} {body['seed']}")).encode())
        finally:
            with self.server.lock:
                self.server.at_once -= 1


def completion(text: str | None, why: str | None = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": why}], "usage": {"completion_tokens": 5}}


def status(code: int, **headers: str) -> Any:
    return lambda handler: handler.reply(code, json.dumps({"error": {"message": "out\nof order"}}).encode(), **headers)


def hangs_up(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def drips(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which nobody sits through."""
    found: list[float] = []
    monkeypatch.setattr(openai, "sleep", found.append)
    return found


def stage(server: Server, out: Path, *, count: int = 3, digest: str = VOLATILE, **resources: Any) -> StageRun:
    out.mkdir(exist_ok=True)
    with (out / "prompts.jsonl").open("w") as file:
        for i in range(count):
            checks = {"require": [], "forbid": [], "min_statements": 1, "mode": "write"}
            prompt = {"id": f"t/{i}", "tier": "syntax", "category": "c", "difficulty": "basic", "generation": "all"}
            prompt |= {"input": f"Show {i}.", "reference": "print 1", "checks": checks}
            file.write(json.dumps(prompt) + "\n")
    known = {"url": server.url, "concurrency": 1, "timeout": 5.0, "api_key_env": None} | resources
    return StageRun(
        kind="generate",
        digest="0" * 16,
        root=out,
        directory=out,
        config={"backend": "openai", "model": "m", "digest": digest, "sampling": SAMPLING},
        inputs={},
        sources={"prompts": [out / "prompts.jsonl"]},
        resources={"gpu": 0, "server": known},
        log=logging.getLogger("test.openai"),
    )


def rows(run: StageRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory / "generations.jsonl").read_text().splitlines()]


def test_the_whole_block_is_sent_and_each_sample_has_a_seed(server: Server, tmp_path: Path) -> None:
    run = stage(server, tmp_path)
    generate.run(run)
    body = server.asked[0]
    assert body["messages"][0] == {"role": "system", "content": SAMPLING["system_prompt"]}
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    sent = {key: value for key, value in body.items() if key not in ("messages", "seed")}
    assert sent == {
        "model": "m",
        "n": 1,
        "stream": False,
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "repeat_penalty": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "max_tokens": 8,
        "stop": ["END"],
    }
    seeds = [asked["seed"] for asked in server.asked]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**31 for seed in seeds)
    assert [(row["task_id"], row["sample_idx"]) for row in rows(run)] == [
        (f"t/{i}", sample) for i in range(3) for sample in range(2)
    ]
    assert {row["n_tokens"] for row in rows(run)} == {5} and {row["finish_reason"] for row in rows(run)} == {"stop"}


def test_how_many_at_once_changes_no_byte(server: Server, tmp_path: Path) -> None:
    one, many = stage(server, tmp_path / "one"), stage(server, tmp_path / "many", concurrency=5)
    generate.run(one)
    assert server.most_at_once == 1
    server.pause = 0.05
    generate.run(many)
    assert 2 <= server.most_at_once <= 5
    assert rows(one) == rows(many)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (status(429), "HTTP 429: out of order"),
        (status(500), "HTTP 500: out of order"),
        (status(503), "HTTP 503: out of order"),
        (b"<html>", "the reply is not JSON (b'<html>'…)"),
        (b"", "the reply is not JSON (b''…)"),
        ({"choices": []}, "the reply is no chat completion with one choice"),
        ([], "the reply is no chat completion with one choice"),
        (completion(""), "an empty answer (finish_reason stop)"),
        (completion(None), "an empty answer (finish_reason stop)"),
        (completion("x", "content_filter"), "an answer that ended by 'content_filter'"),
        (completion("x", None), "an answer that ended by None"),
        (hangs_up, "connection"),
    ],
)
def test_what_fails_once_is_tried_again_and_what_fails_always_is_an_infrastructure_error(
    server: Server, tmp_path: Path, waits: list[float], step: Any, said: str
) -> None:
    once = stage(server, tmp_path / "once")
    server.script = [step]
    generate.run(once)
    assert len(rows(once)) == 6 and all(row["completion"].startswith("Show ") for row in rows(once))
    assert json.loads((once.directory / "generation_record.json").read_text())["retries"] == 1
    assert len(waits) == 1 and 2 <= waits[0] <= 2.5
    always = stage(server, tmp_path / "always")
    server.script = [step] * openai.ATTEMPTS
    with pytest.raises(StageFailed) as caught:
        generate.run(always)
    assert str(caught.value).startswith(f"infrastructure error: {server.url}: t/0: ")
    assert said in str(caught.value)
    assert "6 times; see to the server and run again: what it has answered is kept" in str(caught.value)
    assert not (always.directory / "generations.jsonl").exists()


def test_the_waits_grow_and_the_server_may_set_them(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.script = [status(503)] * 4 + [status(429, Retry_After="7")]
    generate.run(stage(server, tmp_path))
    for wait, least in zip(waits, [2, 4, 8, 16, 7], strict=True):
        assert least <= wait <= least * 1.25


@pytest.mark.parametrize("step", [drips, lambda handler: time.sleep(1)])
def test_a_slow_server_is_not_waited_for(server: Server, step: Any) -> None:
    server.script = [step]
    began = time.monotonic()
    with pytest.raises(Failed, match=r"no reply within 0\.3 s"):
        request_json(f"{server.url}/chat/completions", {"messages": [{"content": ""}], "seed": 1}, {}, 0.3)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_told_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], code: int
) -> None:
    monkeypatch.setenv("TEAM_KEY", "word-that-nobody-sees")
    server.script = [status(code)]
    with pytest.raises(EnvironmentLacks) as caught:
        generate.run(stage(server, tmp_path, api_key_env="TEAM_KEY"))
    assert str(caught.value) == (
        f"{server.url} refuses the key (HTTP {code}: out of order): the environment variable TEAM_KEY holds another key"
    )
    assert server.keys == ["Bearer word-that-nobody-sees"] and not waits


def test_other_refusals_are_not_tried_again(server: Server, tmp_path: Path, waits: list[float]) -> None:
    for code in (400, 404, 302):
        server.script = [status(code, Location="http://127.0.0.1:9/v1")]
        with pytest.raises(StageFailed, match=f": m: HTTP {code}: out of order"):
            generate.run(stage(server, tmp_path))
    assert not waits and len(server.asked) == 3


def test_keys_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "own")
    monkeypatch.delenv("TEAM_KEY", raising=False)
    assert openai.key_header(None, "http://127.0.0.1:1/v1") == {"Authorization": "Bearer own"}
    assert openai.key_header(None, "https://models.example.org/v1") == {"Authorization": "Bearer own"}
    assert openai.key_header(None, "http://models.example.org/v1") == {}, "not in clear text over a network"
    with pytest.raises(EnvironmentLacks, match="the environment variable TEAM_KEY is not set"):
        openai.key_header("TEAM_KEY", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("TEAM_KEY", "team")
    assert openai.key_header("TEAM_KEY", "http://models.example.org/v1") == {"Authorization": "Bearer team"}


def test_a_pinned_model_is_the_one_that_is_meant(server: Server, tmp_path: Path) -> None:
    run = stage(server, tmp_path, digest=DIGEST)
    generate.run(run)
    assert {(row["model"]["revision"], row["model"]["volatile"]) for row in rows(run)} == {(DIGEST, False)}
    server.tags = {"models": [{"name": "m:latest", "digest": "cd" * 32}, {"name": "other", "digest": "ab" * 32}]}
    with pytest.raises(BadInput, match=f"has m with digest sha256:{'cd' * 32}, the spec means {DIGEST}"):
        generate.run(stage(server, tmp_path, digest=DIGEST))
    for tags in (None, [], {"models": None}, {"models": [{"name": "m"}]}, {"models": []}):
        server.tags = tags
        with pytest.raises(BadInput, match=r"reports no digest of m .*write digest: null, and the result is volatile"):
            generate.run(stage(server, tmp_path, digest=DIGEST))


def test_a_model_that_changes_during_the_run_is_no_result(server: Server, tmp_path: Path) -> None:
    def swaps(handler: Handler) -> None:
        server.tags = {"models": [{"name": "m", "digest": "cd" * 32}]}
        handler.reply(200, json.dumps(completion("x")).encode())

    for digest, error in ((VOLATILE, StageFailed), (DIGEST, BadInput)):
        server.tags = {"models": [{"name": "m:latest", "digest": "ab" * 32}]}
        server.script = [swaps]
        with pytest.raises(error):
            generate.run(stage(server, tmp_path / digest[:6], digest=digest))


def test_an_unpinned_model_is_volatile(server: Server, tmp_path: Path) -> None:
    server.tags = None
    run = stage(server, tmp_path)
    generate.run(run)
    record = json.loads((run.directory / "generation_record.json").read_text())
    assert record["volatile"] is True and record["server"]["url"] == server.url and record["digest_reported"] is None
    assert set(record["preflight"].values()) == {None} and record["load_time_s"] is None
    assert all(row["model"]["volatile"] for row in rows(run)) and server.url not in json.dumps(rows(run))


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    run = stage(server, tmp_path)
    server.server_close()
    with pytest.raises(EnvironmentLacks, match=r"no connection .*; start the server, or take the reference out"):
        generate.run(run)


def test_what_was_answered_before_a_failure_is_kept(server: Server, tmp_path: Path, waits: list[float]) -> None:
    whole, cut = stage(server, tmp_path / "whole", concurrency=3), stage(server, tmp_path / "cut", concurrency=3)
    generate.run(whole)
    server.asked.clear()
    server.script = [None, None, None, status(400)]
    with pytest.raises(StageFailed):
        generate.run(cut)
    asked = len(server.asked)
    generate.run(cut)
    assert len(server.asked) == 7 and 4 <= asked <= 6, "six answers and one refusal"
    assert rows(cut) == rows(whole)
