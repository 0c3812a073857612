"""A whole session as a person has it: the command, a real browser, 20 prompts, an undo, a break, the report; and what
the browser never gets to know."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bbjspec.plan import read_plan
from bbjspec.rating.answers import read
from bbjspec.rating.page import page as document
from bbjspec.rating.ratings import read as read_ratings
from bbjspec.rating.session import RaterSession
from tests.harness import environment, run
from tests.rating.browsing import View, expect
from tests.rating.projects import ITEMS, publish_answers

NAME = "zebra-7"  # in no other word of the page
GOOD, BAD = "It counts.\n\n```bbj\nfor row = 1 to {}\n    print row\nnext row\n```", "Write `PRINT {}`, or so."


@pytest.fixture(scope="module")
def zebra(rated_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an experiment whose name is found wherever it stands."""
    root = tmp_path_factory.mktemp("zebra") / "project"
    shutil.copytree(rated_once, root)
    (root / "experiments/v1.yaml").rename(root / f"experiments/{NAME}.yaml")
    shutil.rmtree(root / "adapters/v1")
    answers = [{item: text.format(n) for n, item in enumerate(ITEMS, start=3)} for text in (BAD, GOOD)]
    answers[0][ITEMS[4]] += "<|im_end|>"
    publish_answers(root, NAME, *answers)
    return root


class Served:
    """`bbjspec rate` at work."""

    def __init__(self, root: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("bbjspec"), "rate", NAME, *words],
            cwd=root,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests may run in the background
        )
        assert self.process.stdout is not None
        self.said = ""
        while not (address := re.search(r"^http://\S+$", self.said, re.MULTILINE)):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            self.said += line
        self.address = address[0]

    def ended(self) -> tuple[str, str]:
        """What it said, once it has ended by itself."""
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        return out, err


@pytest.fixture
def rating(zebra: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*words: str) -> Served:
        started.append(Served(zebra, *words))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


class Wire:
    """All that goes to the browser and comes from it."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.sent: list[str] = []

    def listen(self, view: View) -> None:
        view.context.route("**/*", self._pass)
        view.page.reload()
        view.page.locator(".pair:visible, #end:visible").wait_for()

    def _pass(self, route: Any) -> None:
        answer = route.fetch()
        self.got.append(f"{answer.status} {answer.headers}\n{answer.body().decode()}")
        self.sent.append(f"{route.request.method} {route.request.url} {route.request.post_data or ''}")
        route.fulfill(response=answer)


def rate(view: View, numbers: range) -> None:
    """Votes for the better answer, wherever it stands, but for every fourth: a tie."""
    for number in numbers:
        view.at(number, 23)
        left = view.page.locator(".pair:visible [data-side=left]").inner_text()
        view.press("0" if number % 4 == 0 else "1" if "It counts." in left else "2")
    view.page.locator(f".pair[data-number='{numbers.stop}']:visible, #end:visible").wait_for()


def test_rate_undo_close_resume_finish_report(
    zebra: Path, rating: Callable[..., Served], look: Callable[..., View]
) -> None:
    wire, before = Wire(), read_plan(zebra)
    first = rating("--rater", "Åsa")
    assert "20 pairs to rate by Åsa, 3 of them shown again\n" in first.said
    view = look(first.address)
    wire.listen(view)
    rate(view, range(1, 12))
    view.press("u")
    view.says("Taken back")
    view.at(11, 23)
    view.press("n")
    view.page.keyboard.type("uses a loop")
    view.press("Escape")
    rate(view, range(11, 12))
    view.page.close()
    first.process.send_signal(signal.SIGINT)
    assert "11 of 23 rated; bbjspec rate zebra-7 --rater 'Åsa' goes on" in first.ended()[0]
    assert "0.8" not in run(zebra, "bbjspec", "rate", NAME, "--report").stdout  # no figure before the end
    assert "has rated 11 of 23: counted when all are" in (zebra / f"adapters/{NAME}/MODEL_CARD.md").read_text()

    again = rating("--rater", "Åsa")
    assert "11 of 23 are rated already\n" in again.said
    view = look(again.address, viewport={"width": 390, "height": 844})
    wire.listen(view)
    view.at(12, 23)
    rate(view, range(12, 24))
    view.page.get_by_role("button", name="Finish").click()
    expect(view.page.locator("#end h2")).to_have_text("Finished. Thank you.")
    said = view.page.locator("#rows tr").all_inner_texts()
    assert len(said) == 23 and all("compiles" in row and "error in line 1" in row for row in said)
    assert view.page.locator("#judge").inner_text() == "Judged by the builtin checker, provisional."
    out, err = again.ended()
    assert "zebra-7 is **preferred to its base**. Rated by `Åsa`" in out and err == ""
    assert "bbjspec rate zebra-7 --report puts this into the card\n" in out

    found = json.loads(run(zebra, "bbjspec", "rate", NAME, "--report", "--json").stdout)[0]
    lines = read_ratings(zebra / f"adapters/{NAME}/ratings.jsonl", "")
    ties = sum(one.vote == "tie" and one.repeat_of is None for one in lines)
    assert found["votes"] == {"win": 20 - ties, "loss": 0, "tie": ties, "bad": 0} and ties >= 3
    assert [note for told in found["by_prompt"].values() for note in told["notes"].values()] == [["uses a loop"]]
    assert len(lines) == 25 and [one.vote for one in lines].count(None) == 1
    assert all(0 < one.ms < 60_000 for one in lines if one.vote)
    assert "“Rated by people” is up to date" in run(zebra, "bbjspec", "rate", NAME, "--report").stdout
    assert "**preferred to its base**" in (zebra / f"adapters/{NAME}/MODEL_CARD.md").read_text()
    after = read_plan(zebra)
    assert not after.published.bad and after.published.stages == before.published.stages

    # Every byte that the browser got, and every one that it sent.
    key = json.loads((zebra / f"adapters/{NAME}/ratings_key.json").read_text())
    told = "\n".join(wire.got)
    assert len(wire.got) == 2 + 2 + 25 + 1 and told.count("It counts.") == 2 * 23 and "im_end" not in told
    names = [NAME, "zebra", "pico", "qwen", "adapters", "experiment", "tuned", "theirs", "lora"]
    names += [name for entry in key["against"]["base"]["items"].values() for name in entry["answers"]]
    names += [*ITEMS, *after.stages, "generations", "ratings_key"]
    for name in names:
        assert name.lower() not in told.lower(), name
        assert name.lower() not in "\n".join(wire.sent).lower(), name
    assert set(re.findall(r"\w*base\w*(?:-\w+)?", told)) <= {"base-uri", "baseline"}
    posted = [json.loads(line.partition("/votes ")[2]) for line in wire.sent if "/votes " in line]
    assert len(posted) == 25 and all(set(one) == {"number", "vote", "note", "ms"} for one in posted)


def test_the_page_is_the_same_whoever_answered(zebra: Path, tmp_path: Path) -> None:
    """Exchange the two models' answers: every byte of the page stays, but for those texts and the page's own name."""
    other = tmp_path / "project"
    shutil.copytree(zebra, other)
    answers = [{item: text.format(n) for n, item in enumerate(ITEMS, start=3)} for text in (GOOD, BAD)]
    publish_answers(other, NAME, *answers)
    pages = []
    for root in (zebra, other):
        session = RaterSession(root, read(root, NAME), "ana", print)
        text, _ = document(session, offline=True)
        swapped = re.sub(
            r'(<div class="text"[^>]*aria-labelledby="(?:left|right)[^>]*>).*?</div>\n', r"\1", text, flags=re.S
        )
        assert swapped.count('aria-labelledby="left') == 2 * 23 and "It counts." in text and "It counts." not in swapped
        pages.append((session, swapped.replace(session.page, "")))
    assert pages[0][1] == pages[1][1]
    for one, two in zip(pages[0][0].showings, pages[1][0].showings, strict=True):
        assert (one.left, one.right, one.prompt) == (two.right, two.left, two.prompt)


def test_ctrl_c_while_a_vote_is_half_sent(rating: Callable[..., Served]) -> None:
    served = rating("--rater", "cy")
    _, _, where, token, _ = served.address.split("/")
    host, port = where.split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"POST /{token}/votes HTTP/1.1\r\nHost: {where}\r\nOrigin: http://{where}\r\n"
        line.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.3)
        served.process.send_signal(signal.SIGINT)
        out, err = served.ended()
    assert err == "" and "0 of 23 rated; bbjspec rate zebra-7 --rater cy goes on\n" in out


@pytest.mark.parametrize("when", [1, 4])
def test_kill_9_between_two_votes(
    zebra: Path, rating: Callable[..., Served], look: Callable[..., View], when: int
) -> None:
    name = f"bo {when}"
    first = rating("--rater", name)
    view = look(first.address)
    rate(view, range(1, when + 1))
    first.process.kill()
    view.press("1")
    expect(view.page.get_by_role("alert")).to_contain_text("Not saved.")
    view.complaints.clear()  # that the server is gone
    view.page.close()
    again = rating("--rater", name)
    assert f"{when} of 23 are rated already\n" in again.said
    look(again.address).at(when + 1, 23)
