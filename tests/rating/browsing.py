"""A real browser, Debian's Chromium: what a page shows, complains of and asks for."""

from __future__ import annotations

import shutil
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def expect(locator: Any) -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect as known

    return known(locator)


class View:
    """A page that is open, with what the browser complained of and asked for."""

    def __init__(self, browser: Any, address: str, clock: bool = False, script: str = "", **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        self.context.set_default_timeout(5000)
        if script:
            self.context.add_init_script(script)
        self.address = address
        self.runs = options.get("java_script_enabled", True)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.open(clock)

    def open(self, clock: bool = False) -> None:
        """A new tab."""
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if clock:
            self.page.clock.install()
        self.page.goto(self.address)
        if self.runs:
            self.page.locator(".pair:visible, #end:visible").wait_for()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def at(self, number: int, total: int = 5) -> None:
        """Wait until that pair, alone, is on screen."""
        shown = self.page.locator(".pair:visible h2")
        expect(shown).to_have_count(1)
        expect(shown).to_contain_text(f"Pair {number} of {total}")

    def says(self, text: str) -> None:
        expect(self.page.get_by_role("status")).to_have_text(text)

    def vote(self, key: str, then: int, total: int = 5) -> None:
        self.press(key)
        if then > total:
            expect(self.page.locator("#end")).to_be_visible()
        else:
            self.at(then, total)

    def pressed(self) -> list[str]:
        return [one.get_attribute("data-vote") for one in self.page.locator("[aria-pressed=true]").all()]

    def width_is_enough(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
