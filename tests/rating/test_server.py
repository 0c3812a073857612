"""The server answers its own page and nobody else, and loses no vote quietly."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bbjspec.errors import EnvironmentLacks, StageFailed, UsageError
from bbjspec.rating import server
from tests.harness import REPOSITORY, environment
from tests.rating.sessions import FileSession, showing

HOST, TOKEN = "127.0.0.1:8123", "a-token-that-is-long-enough"
ORIGIN = {"Origin": f"http://{HOST}"}
VOTE = {"number": 1, "vote": "left", "note": "", "ms": 1200}


class Case:
    """A session of three pairs, and a client that calls it as the page does."""

    def __init__(self, folder: Path) -> None:
        self.session = FileSession(folder / "votes.jsonl", [showing(number) for number in (1, 2, 3)])
        self.finished: list[bool] = []
        self.app = server.app(self.session, {HOST, "localhost:8123"}, TOKEN, lambda: self.finished.append(True))
        self.client = TestClient(self.app, base_url=f"http://{HOST}", raise_server_exceptions=False)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def post(self, path: str, content: Any, **headers: str) -> Any:
        return self.client.post(f"/{TOKEN}/{path}", json=content, headers=ORIGIN | headers)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_session(case: Case) -> None:
    shown = case.get(f"/{TOKEN}/")
    assert shown.status_code == 200 and shown.headers["content-type"] == "text/html; charset=utf-8"
    assert case.get(f"/{TOKEN}/state").json() == {"votes": {}}
    assert case.post("votes", VOTE | {"note": "ü"}).json() == {"saved": 1}
    assert case.post("votes", VOTE | {"number": 2, "vote": "bad"}).status_code == 200
    assert case.get(f"/{TOKEN}/state").json() == {
        "votes": {"1": {"vote": "left", "note": "ü"}, "2": {"vote": "bad", "note": ""}}
    }
    assert case.post("votes", VOTE | {"number": 2, "vote": None}).status_code == 200
    refused = case.post("finish", {})
    assert refused.status_code == 409
    assert refused.json() == {"error": "2 of 3 are not rated yet, the first is 2."}
    assert not case.finished
    for number in (2, 3):
        case.post("votes", VOTE | {"number": number, "vote": "tie"})
    rows = case.post("finish", {}).json()["rows"]
    assert rows[1] == {
        "number": 2,
        "category": "strings",
        "vote": "tie",
        "left": "compiles",
        "right": "line 3: <b>fails</b>",
    }
    assert case.finished == [True]
    assert [line["ms"] for line in case.session.lines()] == [1200] * 5


HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def test_every_answer_has_the_headers(case: Case) -> None:
    case.session.fails = RuntimeError("a bug")
    answers = [
        case.get(f"/{TOKEN}/"),
        case.get("/"),
        case.get(f"/{TOKEN}/", Host="evil.example"),
        case.post("votes", {}),
        case.post("votes", VOTE),
        case.client.put(f"/{TOKEN}/"),
    ]
    assert [one.status_code for one in answers] == [200, 404, 421, 400, 500, 404]
    for one in answers:
        assert one.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
        assert {name: one.headers[name] for name in HEADERS} == HEADERS
        assert "allow" not in one.headers and "server" not in one.headers
    assert answers[4].json() == {"error": "A fault of bbjspec itself: its traceback is in the terminal."}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/favicon.ico",
        "/state",
        "/votes",
        f"/{TOKEN}",
        f"/{TOKEN}x/",
        f"/{TOKEN[:-1]}/",
        "/%00/",
        "/ü/state",
        "/wrong/state",
        f"/{TOKEN}/votes",
        f"/{TOKEN}/finish",
        f"/{TOKEN}/state/",
        f"/{TOKEN}/../x",
        f"/{TOKEN}/static/page.js",
        f"/x/{TOKEN}/",
    ],
)
def test_all_else_is_not_found(case: Case, path: str) -> None:
    found = case.get(path)
    assert (found.status_code, found.text) == (404, "not found")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8123",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1.evil.example:8123",
        "localhost:8124",
        "[::1]:8123",
        "",
        "0.0.0.0:8123",
    ],
)
def test_a_name_that_is_bound_to_this_address_is_refused(case: Case, host: str) -> None:
    for path in ("/", f"/{TOKEN}/", f"/{TOKEN}/state"):
        refused = case.get(path, Host=host)
        assert (refused.status_code, refused.text) == (
            421,
            "not here: through a tunnel, the port must be the same at both ends",
        )
    assert (
        case.client.post(f"/{TOKEN}/votes", json=VOTE, headers={"Host": host, "Origin": f"http://{host}"}).status_code
        == 421
    )
    assert case.session.lines() == []


def test_localhost_is_this_too(case: Case) -> None:
    assert case.get(f"/{TOKEN}/", Host="LOCALHOST:8123").status_code == 200
    assert case.post("votes", VOTE, Host="localhost:8123", Origin="http://localhost:8123").status_code == 200
    assert case.post("votes", VOTE, Host="localhost:8123").status_code == 403  # the other name's origin


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "https://127.0.0.1:8123", "http://127.0.0.1", "http://127.0.0.1:8124"],
)
def test_a_change_comes_from_the_page_itself(case: Case, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    for path in ("votes", "finish"):
        refused = case.client.post(f"/{TOKEN}/{path}", json=VOTE, headers=headers)
        assert refused.status_code == 403
        assert refused.json() == {"error": "This did not come from the rating page."}
    assert case.session.lines() == []


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
)
def test_a_form_of_another_page_cannot_send_what_is_read(case: Case, kind: str | None) -> None:
    headers = ORIGIN | ({} if kind is None else {"Content-Type": kind})
    assert case.client.post(f"/{TOKEN}/votes", content=b'{"number":1}', headers=headers).status_code == 415
    assert case.post("votes", VOTE, **{"Content-Type": "application/json; charset=utf-8"}).status_code == 200


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"number": 4}, "number: there are 3 pairs"),
        ({"number": 0}, "number: Input should be greater than or equal to 1"),
        ({"number": "1"}, "number: Input should be a valid integer"),
        ({"number": True}, "number: Input should be a valid integer"),
        ({"vote": "both"}, "vote: Input should be 'left', 'right', 'tie' or 'bad'"),
        ({"note": None}, "note: Input should be a valid string"),
        ({"note": "x" * 2001}, "note: String should have at most 2000 characters"),
        ({"ms": -1}, "ms: Input should be greater than or equal to 0"),
        ({"ms": 1.5}, "ms: Input should be a valid integer"),
        ({"side": "base"}, "side: Extra inputs are not permitted"),
    ],
)
def test_fields(case: Case, change: dict[str, Any], told: str) -> None:
    refused = case.post("votes", VOTE | change)
    assert refused.status_code == 400 and refused.json()["error"].startswith(told)
    assert case.session.lines() == []


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b"\xff", b'{"number":1,"vote":"left","note":"\\ud800","ms":1}', b"[" * 9000]
)
def test_bodies_that_are_none(case: Case, body: bytes) -> None:
    refused = case.client.post(f"/{TOKEN}/votes", content=body, headers=ORIGIN | {"Content-Type": "application/json"})
    assert refused.status_code == 400 and "\n" not in refused.json()["error"]
    assert case.session.lines() == []


def test_a_large_body_is_refused_before_it_is_read(case: Case) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 1024

    headers = ORIGIN | {"Content-Type": "application/json"}
    for path in ("votes", "finish"):
        refused = case.client.post(f"/{TOKEN}/{path}", content=endless(), headers=headers)
        assert (refused.status_code, refused.json()) == (413, {"error": "more than 16 kB"})
    assert case.post("votes", VOTE | {"note": "€" * 2000}).status_code == 200  # 6 kB: the longest note has room


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/secret/v3"), 507, "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "Disk quota exceeded"),
        (PermissionError(errno.EACCES, "Permission denied", "/secret"), 500, "Permission denied"),
        (StageFailed("line 3 of the votes\nis torn"), 500, r"line 3 of the votes\nis torn"),
    ],
)
def test_a_vote_that_is_not_written(case: Case, error: Exception, status: int, told: str) -> None:
    case.session.fails = error
    refused = case.post("votes", VOTE)
    before = "The vote cannot be written: " if isinstance(error, OSError) else ""
    assert (refused.status_code, refused.json()) == (status, {"error": before + told})
    assert case.get(f"/{TOKEN}/state").status_code == status
    case.session.fails = None
    assert case.post("votes", VOTE).status_code == 200


def test_two_votes_are_written_one_after_the_other(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, record = 0, 0, case.session.record

    def slow(*args: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        record(*args)
        inside -= 1

    monkeypatch.setattr(case.session, "record", slow)
    threads = [threading.Thread(target=case.post, args=("votes", VOTE | {"ms": at})) for at in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == 1 and sorted(line["ms"] for line in case.session.lines()) == list(range(6))  # type: ignore[type-var]


# The real server, in a process of its own

PROGRAM = """
import sys
from pathlib import Path
from bbjspec.rating.server import serve
from tests.rating.sessions import FileSession, showing
session = FileSession(Path(sys.argv[1]), [showing(1)])
serve(session, port=int(sys.argv[2]), tell=lambda address: print(address, flush=True))
print("ended", flush=True)
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "votes.jsonl"), "0"]
    child = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests may run in the background
    )
    assert child.stdout is not None
    yield child, child.stdout.readline().strip()
    child.kill()
    child.communicate()


def ask(address: str, method: str, path: str, body: str | None = None) -> tuple[int, str, dict[str, str]]:
    _, _, host, token, _ = address.split("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    headers = {"Origin": f"http://{host}", "Content-Type": "application/json"}
    connection.request(method, f"/{token}/{path}", body, headers if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}


def test_it_ends_when_the_result_has_been_sent(started: tuple[subprocess.Popen[str], str]) -> None:
    child, address = started
    assert address.startswith("http://127.0.0.1:") and len(address.split("/")[3]) >= 32
    status, _, headers = ask(address, "GET", "")
    assert status == 200 and "server" not in headers
    idle = socket.create_connection(("127.0.0.1", int(address.split(":")[2].split("/")[0])))  # a browser's spare one
    assert ask(address, "POST", "votes", '{"number":1,"vote":"tie","note":"","ms":5}')[0] == 200
    status, text, _ = ask(address, "POST", "finish", "{}")
    assert status == 200 and "compiles" in text
    out, err = child.communicate(timeout=10)
    idle.close()
    assert (child.returncode, out, err) == (0, "ended\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(started: tuple[subprocess.Popen[str], str], number: int) -> None:
    child, address = started
    assert ask(address, "GET", "state")[0] == 200
    os.kill(child.pid, number)
    out, err = child.communicate(timeout=10)
    assert (child.returncode, out, err) == (0, "ended\n", "")


def test_a_port_that_is_taken(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            EnvironmentLacks, match=rf"^port {port} is taken: end what listens there, or leave --port out$"
        ):
            server.serve(case.session, port=port, tell=lambda _: None)


@pytest.mark.parametrize(
    ("host", "kind", "told"),
    [
        ("0.0.0.0", UsageError, "--host '0.0.0.0' is every address: name the one that the raters' browsers call"),
        ("::", UsageError, "--host '::' is every address: name the one that the raters' browsers call"),
        ("192.0.2.7", EnvironmentLacks, "cannot listen on 192.0.2.7 port 0: Cannot assign requested address"),
    ],
)
def test_hosts_that_are_none(case: Case, host: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind) as found:
        server.serve(case.session, host, tell=lambda _: None)
    assert str(found.value).removesuffix(", such as 127.0.0.1") == told
