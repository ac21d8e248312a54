"""A browser for the session, and a study with everything that a report can show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.helpers import FULL, expected, full_study, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Seen:
    """A page as it was opened, and everything that it said or asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def clean(self) -> None:
        """Nothing was logged, and nothing was asked for beside the file itself."""
        assert self.console == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert sum(url.startswith("file:") for url in self.requests) == 1


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study with everything."""
    root = tmp_path_factory.mktemp("study")
    full_study(root)
    path, made = written(root, expected(*FULL))
    assert made.absent == ()
    return path


@contextmanager
def opened(browser: Browser, path: Path, width: int = 1000, **context: Any) -> Iterator[Seen]:
    """The page at a path, its figures drawn. context: as playwright's new_context takes it."""
    with browser.new_context(viewport={"width": width, "height": 900}, **context) as place:
        seen = Seen(place.new_page())
        seen.page.on("console", lambda message: seen.console.append(f"{message.type}: {message.text}"))
        seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
        seen.page.route("**/*", lambda route: (seen.requests.append(route.request.url), route.continue_()))
        seen.page.goto(path.resolve().as_uri())
        if context.get("java_script_enabled", True) and seen.page.locator(".plot").count():
            seen.page.wait_for_function("() => document.documentElement.dataset.figures === 'drawn'", timeout=60_000)
        yield seen
