"""The rating page in a real browser, Debian's Chromium, against the real server or as a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbjspec.rating.page import page as document
from bbjspec.rating.server import serve
from tests.harness import REPOSITORY, environment
from tests.rating.browsing import View
from tests.rating.sessions import FileSession, realistic, showing
from tests.rating.test_render import FENCED

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

HOSTILE = (
    "<script>window.hit=1</script><img src=x onerror=window.hit=1><svg onload=window.hit=1></svg>"
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe></template><!-- x --> [a](javascript:window.hit=1)"
)


class Served:
    """A session of a file, and the real server in a thread of its own."""

    def __init__(self, session: FileSession) -> None:
        self.session = session
        told = threading.Event()
        self.address = ""

        def tell(address: str) -> None:
            self.address = address
            told.set()

        self.thread = threading.Thread(target=serve, args=(session,), kwargs={"tell": tell}, daemon=True)
        self.thread.start()
        assert told.wait(10)


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., Served]:
    return lambda showings=None: Served(FileSession(tmp_path / "votes.jsonl", showings or realistic(5)))


def test_the_keyboard_alone(look: Callable[..., View], served: Callable[..., Served]) -> None:
    there = served()
    view = look(there.address)
    view.at(1)
    view.vote("1", then=2)
    view.says("Saved")
    view.press("n")
    view.page.keyboard.type("2 b0u, so: <ü>\n1")  # no key of these votes
    view.press("ArrowLeft", "Escape")
    view.vote("2", then=3)
    view.press("u")
    view.at(2)
    view.says("Taken back")
    assert view.page.input_value("#note") == "2 b0u, so: <ü>\n1"  # what was taken back is the vote
    assert view.pressed() == []
    view.press("Alt+n")
    view.page.keyboard.type("!")
    view.press("Escape")
    view.vote("0", then=3)

    view.page.reload()
    view.at(3)
    view.press("ArrowLeft", "k")
    view.at(1)
    assert view.pressed() == ["left"]
    view.vote("b", then=3)  # changed; on to what is not rated
    view.press("u")
    view.at(1)
    assert view.pressed() == ["left"]
    view.press("ArrowRight", "j")
    view.at(3)
    view.vote("2", then=4)
    view.vote("1", then=5)
    view.press("j")  # the end is not reached before all are rated
    view.at(5)
    view.vote("1", then=6)
    assert there.thread.is_alive()
    api.expect(view.page.locator("#end h2")).to_have_text("All 5 are rated.")
    view.press("u")
    view.at(5)
    view.vote("b", then=6)
    view.press("Tab", "Enter")  # Finish is the first behind the heading
    api.expect(view.page.locator("#end h2")).to_have_text("Finished. Thank you.")
    cells = [row.locator("td").all_inner_texts() for row in view.page.locator("#rows tr").all()]
    assert [row[2] for row in cells] == ["Left", "Tie", "Right", "Left", "Both bad"]
    assert cells[0] == ["1", "data-files", "Left", "compiles", "line 3: <b>fails</b>"]
    assert "bbjspec rate … --report" in view.page.locator("#result").inner_text()
    there.thread.join(10)
    assert not there.thread.is_alive()

    kept = {number: (one.vote, one.note) for number, one in there.session.votes().items()}
    assert kept == {
        1: ("left", ""),
        2: ("tie", "2 b0u, so: <ü>\n1!"),
        3: ("right", ""),
        4: ("left", ""),
        5: ("bad", ""),
    }
    said = [(line["number"], line["vote"]) for line in there.session.lines()]
    assert said[:5] == [(1, "left"), (2, "right"), (2, None), (2, "tie"), (1, "bad")]
    assert all(0 < int(str(line["ms"])) < 60000 for line in there.session.lines())
    assert {re.sub("^" + re.escape(there.address), "", one) for one in view.requests} == {
        "",
        "state",
        "votes",
        "finish",
    }


def test_buttons_and_notes(look: Callable[..., View], served: Callable[..., Served]) -> None:
    there = served()
    view = look(there.address)
    view.page.get_by_role("button", name="Both bad").click()
    view.at(2)
    view.page.get_by_label("Note").fill("a draft")
    view.page.get_by_role("button", name="Back").click()
    view.at(1)
    view.page.get_by_label("Note").fill("added later")  # to a vote that is there: saved on moving on
    view.page.get_by_role("button", name="Forward").click()
    view.at(2)
    view.says("Saved")
    assert view.page.input_value("#note") == "a draft"
    assert [(one.vote, one.note) for one in there.session.votes().values()] == [("bad", "added later")]
    view.page.get_by_role("button", name="Help").click()
    view.press("1")  # does nothing behind the help
    view.page.get_by_label("Single keys act").uncheck()
    view.press("Escape", "1", "b")
    view.at(2)
    view.page.get_by_role("button", name="Right").click()
    view.at(3)
    assert there.session.votes()[2].note == "a draft"


def test_hostile_answers_are_text(look: Callable[..., View], served: Callable[..., Served], tmp_path: Path) -> None:
    texts = {"prompt": FENCED + HOSTILE, "category": HOSTILE, "notes": HOSTILE}
    showings = [showing(1, HOSTILE, f"{FENCED}{HOSTILE}\n\n```html\n{HOSTILE}\n```\n", **texts)]
    there = served(showings)
    file = tmp_path / "page.html"
    file.write_text(document(there.session, offline=True)[0], encoding="utf-8")
    for address in (there.address, file.as_uri()):
        view = look(address)
        view.at(1, 1)
        view.page.locator(".notes summary").click()
        for place, count in (
            (".notes .text", 1),
            (".prompt .text", 1),
            ("[data-side=left] .text", 1),
            ("[data-side=right] .text", 2),
        ):
            assert view.page.locator(place).inner_text().count(HOSTILE) == count, place
        assert view.page.evaluate("window.hit") is None
        assert view.page.locator("main :is(script, img, svg, iframe, a, template)").count() == 0
        assert not [one for one in view.requests if not one.startswith(address)]


def test_a_vote_that_the_disk_refuses(look: Callable[..., View], served: Callable[..., Served]) -> None:
    there = served()
    view = look(there.address)
    view.at(1)
    there.session.fails = OSError(28, "No space left on device")
    view.press("2")
    alert = view.page.get_by_role("alert")
    api.expect(alert).to_contain_text("Not saved. The vote cannot be written: No space left on device")
    view.says("Not saved")
    view.press("ArrowRight", "j")
    view.at(1)
    assert view.pressed() == ["right"]
    view.press("1")  # another vote on the same pair takes its place
    api.expect(alert).to_be_visible()
    there.session.fails = None
    view.page.get_by_role("button", name="Try again").click()
    view.at(2)
    api.expect(alert).to_be_hidden()
    assert [(line["number"], line["vote"]) for line in there.session.lines()] == [(1, "left")]
    assert {"507" in one for one in view.complaints} == {True}
    view.complaints.clear()


PROGRAM = """
import secrets, sys
from pathlib import Path
from bbjspec.rating.server import serve
from tests.rating.browsing import View
from tests.rating.sessions import FileSession, realistic
secrets.token_urlsafe = lambda _: "the-same-token-again-and-again-and"
session = FileSession(Path(sys.argv[1]), realistic(5))
serve(session, port=int(sys.argv[2]), tell=lambda address: print(address, flush=True))
"""


def test_a_server_that_is_killed(look: Callable[..., View], tmp_path: Path) -> None:
    children: list[subprocess.Popen[str]] = []

    def start(port: str) -> str:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "votes.jsonl"), port]
        children.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True))
        out = children[-1].stdout
        assert out is not None
        return out.readline().strip()

    def kill() -> None:
        children[-1].kill()
        children[-1].wait()

    try:
        address = start("0")
        view = look(address)
        view.vote("1", then=2)
        kill()
        view.press("b")
        alert = view.page.get_by_role("alert")
        api.expect(alert).to_contain_text("The server cannot be reached: is bbjspec rate still running?")
        view.at(2)
        asked: list[str] = []
        view.page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
        view.page.close(run_before_unload=True)
        api.expect(alert).to_be_visible()
        assert asked == ["beforeunload"]
        assert start(address.split(":")[2].split("/")[0]) == address
        view.page.get_by_role("button", name="Try again").press("Enter")
        view.at(3)
        kill()
        kept = FileSession(tmp_path / "votes.jsonl", []).votes()
        assert {number: one.vote for number, one in kept.items()} == {1: "left", 2: "bad"}
        assert [one for one in view.complaints if "ERR_CONNECTION_REFUSED" not in one] == []
        view.complaints.clear()
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_time_on_screen(look: Callable[..., View], served: Callable[..., Served]) -> None:
    there = served()
    view = look(there.address, clock=True)
    view.at(1)

    def seen(state: str) -> None:
        view.page.evaluate(
            "state => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            state,
        )

    view.page.clock.fast_forward(3000)
    seen("hidden")
    view.page.clock.fast_forward(50000)
    seen("visible")
    view.page.clock.fast_forward(2000)
    view.press("ArrowRight")
    view.at(2)
    view.page.clock.fast_forward(20000)
    view.press("ArrowLeft")
    view.at(1)
    view.page.clock.fast_forward(1000)
    view.vote("1", then=2)
    (line,) = there.session.lines()
    assert 6000 <= int(str(line["ms"])) < 10000  # 3 + 2 + 1 seconds, and what the test itself took


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The page as a file of its own."""
    file = tmp_path / "page.html"
    file.write_text(document(FileSession(tmp_path / "none", realistic(3)), offline=True)[0], encoding="utf-8")
    return file


def saved(download: Any) -> dict[str, Any]:
    assert download.suggested_filename == "ratings.json"
    found = json.loads(Path(download.path()).read_text(encoding="utf-8"))
    assert set(found) == {"schema_version", "page", "rater", "votes"}
    assert (found["schema_version"], found["page"], found["rater"]) == (1, "p-0123456789abcdef", "Ada")
    for line in found["votes"]:
        assert set(line) == {"number", "vote", "note", "ms", "time"} and isinstance(line["ms"], int)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    return dict(found)


def test_a_file_of_its_own(look: Callable[..., View], file: Path) -> None:
    view = look(file.as_uri())
    view.vote("1", then=2, total=3)
    view.press("n")
    view.page.keyboard.type("nötig")
    view.press("Escape")
    view.vote("2", then=3, total=3)
    with view.page.expect_download() as early:
        view.page.get_by_role("button", name="Save what is rated so far").click()
    assert [(one["number"], one["vote"], one["note"]) for one in saved(early.value)["votes"]] == [
        (1, "left", ""),
        (2, "right", "nötig"),
    ]
    view.page.close()
    view.open()  # closed, and opened again: kept by the browser
    view.at(3, 3)
    view.press("u")
    view.at(2, 3)
    view.vote("0", then=3, total=3)
    view.vote("b", then=4, total=3)
    with view.page.expect_download() as late:
        view.page.get_by_role("button", name="Finish").click()
    votes = saved(late.value)["votes"]
    assert [(one["number"], one["vote"]) for one in votes] == [
        (1, "left"),
        (2, "right"),
        (2, None),
        (2, "tie"),
        (3, "bad"),
    ]
    assert votes == sorted(votes, key=lambda one: str(one["time"]))
    assert votes[3]["note"] == "nötig"
    view.says("ratings.json is saved")
    assert {one.split(":")[0] for one in view.requests} <= {"file", "blob"}


def test_a_browser_that_keeps_nothing(look: Callable[..., View], file: Path) -> None:
    blocked = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    view = look(file.as_uri(), script=blocked)
    view.says("This browser keeps nothing: save before you close")
    view.vote("1", then=2, total=3)
    view.says("Kept by this tab alone: save before you close it")
    asked: list[str] = []
    view.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    view.page.close(run_before_unload=True)
    view.at(2, 3)
    with view.page.expect_download() as early:
        view.page.get_by_role("button", name="Save what is rated so far").click()
    assert len(saved(early.value)["votes"]) == 1
    assert asked == ["beforeunload"]
    with view.page.expect_event("close"):
        view.page.close(run_before_unload=True)  # nothing is lost now
    assert asked == ["beforeunload"]


SIZES = {
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "zoomed to 200 %": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
    "zoomed to 400 %": {"viewport": {"width": 320, "height": 256}, "device_scale_factor": 4},
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_small_screens(look: Callable[..., View], tmp_path: Path, size: dict[str, Any]) -> None:
    long = "```bbj\nprint " + " + ".join(f"part_{at}$" for at in range(60)) + "\n```\n"
    wide = "x" * 300
    pairs = [
        showing(1, long, wide, prompt=long + wide, named=True, right_cut=True, notes=wide, category=wide),
        *realistic(5)[1:],
    ]
    file = tmp_path / "page.html"
    session = FileSession(tmp_path / "none", pairs, rater="A name that is rather long, " * 3)
    file.write_text(document(session, offline=True)[0], encoding="utf-8")
    view = look(file.as_uri(), **size)
    left, right = (view.page.locator(f".pair:visible [data-side={side}]") for side in ("left", "right"))
    for number in range(1, 6):
        view.at(number)
        assert view.width_is_enough(), number
        above, below = left.bounding_box(), right.bounding_box()
        assert above["y"] + above["height"] <= below["y"]  # one above the other
        for name in ("Left", "Tie", "Both bad", "Right", "Undo", "Back", "Forward"):
            box = view.page.get_by_role("button", name=name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= size["viewport"]["width"] and box["height"] >= 24
        if number == 1:
            assert left.locator(".text").evaluate(
                "box => box.scrollWidth > box.clientWidth"
            )  # long code scrolls inside
            view.page.get_by_role("button", name="Help").click()
            assert view.width_is_enough()
            view.press("Escape")
        view.vote("1", then=number + 1)
    assert view.width_is_enough()


def test_long_code_scrolls_inside_its_pane_by_keyboard(
    look: Callable[..., View], served: Callable[..., Served]
) -> None:
    long = "```bbj\nprint " + " + ".join(f"part_{at}$" for at in range(60)) + "\n```\n"
    view = look(served([showing(1, long, "short"), showing(2)]).address)
    view.at(1, 2)
    assert view.width_is_enough()
    left = view.page.get_by_role("region", name="Left")
    left.focus()
    assert left.evaluate("box => getComputedStyle(box).outlineStyle") == "solid"  # seen to have the focus
    view.press("ArrowRight")
    view.page.wait_for_timeout(200)
    assert left.evaluate("box => box.scrollLeft") > 0
    view.at(1, 2)
    view.page.get_by_role("region", name="Right").focus()  # nothing to scroll there
    view.press("ArrowRight")
    view.at(2, 2)


def test_light_and_dark(look: Callable[..., View], file: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        view = look(file.as_uri(), color_scheme=scheme)
        view.at(1, 3)
        grounds.append(view.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(243, 245, 248)", "rgb(14, 18, 23)"]


def test_every_control_has_a_name(look: Callable[..., View], file: Path) -> None:
    view = look(file.as_uri())
    view.at(1, 3)
    seen = view.page.locator("body").aria_snapshot()
    for role in "banner main contentinfo status progressbar textbox".split():
        assert re.search(rf"^ *- {role}\b", seen, re.MULTILINE), role
    nameless = re.findall(
        r"^ *- (?:button|textbox|checkbox|region|heading|article|progressbar|dialog)(?! \").*$", seen, re.MULTILINE
    )
    assert nameless == []
    assert re.findall(r'heading "(.+?)" \[level=(\d)\]', seen) == [
        ("Which answer is better?", "1"),
        ("Pair 1 of 3 data-files", "2"),
        ("Prompt", "3"),
        ("Left", "3"),
        ("Right", "3"),
    ]
    assert "Pair 2 of 3" not in seen  # what is not shown is not read out either
    view.press("?")
    assert 'dialog "How to rate"' in view.page.locator("body").aria_snapshot()


def test_without_javascript(look: Callable[..., View], file: Path) -> None:
    view = look(file.as_uri(), java_script_enabled=False)
    api.expect(view.page.get_by_text("This page needs JavaScript")).to_be_visible()
    api.expect(view.page.locator(".pair:visible")).to_have_count(0)
