"""A report as its reader has it: in a real browser, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.report.figures.palette import PALETTES
from lllm.report.index import Question, entries, index_page
from lllm.results.committed import load_records
from lllm.results.rule import Rule
from tests.report.conftest import opened
from tests.report.helpers import (
    FULL,
    committed_only,
    expected,
    full_study,
    noise,
    unfinished,
    write_run,
    written,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FIGURES = ("forest", "learning", "slots", "positions", "front", "noise", "tuning", "search-0")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def traces(page: Page, key: str) -> list[dict[str, Any]]:
    """What a figure shows now."""
    found: list[dict[str, Any]] = page.evaluate(
        "key => document.getElementById('figure-' + key).data.map("
        "t => ({name: t.name, visible: t.visible, x: Array.from(t.x), meta: t.meta}))",
        key,
    )
    return found


def colour_of(page: Page, key: str, name: str) -> str:
    found = page.evaluate(
        "([key, name]) => document.getElementById('figure-' + key)._fullData.find(t => t.name === name).line.color",
        [key, name],
    )
    return str(found)


def test_everything_is_drawn_and_nothing_is_asked_for(browser: Browser, study: Path) -> None:
    with opened(browser, study) as seen:
        places = seen.page.locator(".plot")
        assert [place.get_attribute("id") for place in places.all()] == [f"figure-{key}" for key in FIGURES]
        for place in places.all():
            assert place.locator("svg.main-svg").count() >= 1
            assert place.locator(".point, .js-line").count() >= 1
        seen.clean()


def test_it_fits_and_follows_the_theme(browser: Browser, study: Path, tmp_path: Path) -> None:
    with opened(browser, study, color_scheme="light") as seen:
        for scheme, width in (("light", 1000), ("dark", 1000), ("dark", 400), ("light", 400)):
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            seen.page.wait_for_function(
                "([ink, most]) => [...document.querySelectorAll('.plot')].every("
                "p => p._fullLayout.font.color === ink && p._fullLayout.width <= most)",
                arg=[PALETTES[scheme]["ink"], width],
            )
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            assert colour_of(seen.page, "learning", "flat") == PALETTES[scheme]["ink"]
            paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
            red, green, blue = (int(PALETTES[scheme]["paper"][i : i + 2], 16) for i in (1, 3, 5))
            assert paper == f"rgb({red}, {green}, {blue})"
            picture = tmp_path / f"{scheme}{width}.png"
            seen.page.screenshot(path=picture, full_page=True)
            assert picture.stat().st_size > 50_000
        seen.clean()


def test_a_hover_shows_what_a_point_is(browser: Browser, study: Path) -> None:
    with opened(browser, study) as seen:
        place = seen.page.locator("#figure-forest")
        place.scroll_into_view_if_needed()
        box = place.locator(".point").first.bounding_box()
        assert box is not None
        seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        place.locator(".hoverlayer .hovertext").first.wait_for()
        text = place.locator(".hoverlayer .hovertext").first.text_content() or ""
        assert "local" in text
        assert "n = 3" in text
        seen.clean()


def test_the_legend_hides_a_row_and_it_stays_hidden_when_the_axis_changes(browser: Browser, study: Path) -> None:
    with opened(browser, study) as seen:
        place = seen.page.locator("#figure-learning")
        place.scroll_into_view_if_needed()
        place.locator(".legendtoggle").nth(1).click()
        seen.page.wait_for_function(
            "() => document.getElementById('figure-learning').data.some(t => t.visible === 'legendonly')"
        )
        place.page.locator("#learning").get_by_role("button", name="FLOPs", exact=True).click()
        shown = traces(seen.page, "learning")
        assert {t["name"] for t in shown if t.get("visible") == "legendonly"} == {"local"}
        seen.clean()


def test_switches_change_axis_value_and_lines(browser: Browser, study: Path) -> None:
    with opened(browser, study) as seen:
        before = traces(seen.page, "learning")
        assert {t["meta"]["when"]["x"] for t in before} == {"bytes"}
        assert {t["meta"]["when"]["y"] for t in before} == {"bpb"}
        assert max(max(t["x"]) for t in before) == 1_000_000
        for name in ("seconds", "loss", "each run"):
            seen.page.locator("#learning").get_by_role("button", name=name, exact=True).click()
        after = traces(seen.page, "learning")
        assert [t["meta"]["when"] for t in after] == [{"y": "loss", "x": "seconds", "lines": "runs"}] * 12
        assert max(max(t["x"]) for t in after) == 20
        title = seen.page.locator("#figure-learning .xtitle").text_content()
        assert title == "training time, seconds"
        pressed = seen.page.locator("button[aria-pressed=true][data-figure=learning]")
        assert pressed.all_inner_texts() == ["loss", "seconds", "each run"]
        seen.clean()


def test_it_prints_on_light_paper(browser: Browser, study: Path, tmp_path: Path) -> None:
    with opened(browser, study, color_scheme="dark") as seen:
        seen.page.evaluate(
            "addEventListener('beforeprint', () => { const f = document.getElementById('figure-learning');"
            " window.onPaper = [f._fullLayout.font.color, f._fullLayout.width]; })"
        )
        data = seen.page.pdf(path=tmp_path / "page.pdf", format="A4")
        assert data.startswith(b"%PDF")
        assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") > 1
        ink, width = seen.page.evaluate("window.onPaper")
        assert ink == PALETTES["light"]["ink"]
        assert width <= 700
        assert colour_of(seen.page, "learning", "flat") == PALETTES["dark"]["ink"]  # and as it was, afterwards
        seen.clean()


def test_without_javascript_tables_and_text_are_there(browser: Browser, study: Path) -> None:
    with opened(browser, study, java_script_enabled=False) as seen:
        text = seen.page.locator("body").inner_text()
        assert text.count("The figure is drawn by JavaScript") == len(FIGURES)
        assert "parallel_head" in seen.page.locator(".judged").inner_text()
        assert seen.page.locator(".switches").first.is_hidden()
        seen.page.locator("summary", has_text="Where the curves end").click()
        assert seen.page.locator("table", has_text="FLOPs").first.is_visible()
        seen.clean()


def test_a_browser_that_cannot_unpack_says_so(browser: Browser, study: Path) -> None:
    with browser.new_context() as context:
        context.add_init_script("delete window.DecompressionStream")
        page = context.new_page()
        page.goto(study.as_uri())
        page.wait_for_function("() => document.documentElement.dataset.figures === 'failed'")
        assert "cannot draw" in page.locator("#figure-forest").inner_text()


def test_words_of_users_stay_words(browser: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&quot;"  # no experiment may be called so now; a folder may
    for seed in range(2):
        write_run(tmp_path, "flat", seed, 2.5 + 0.01 * seed, experiment=name, text=HOSTILE)
        ended = f"</blockquote></script>{HOSTILE}\x00\x1b[31m\ud800"
        write_run(tmp_path, "twin", seed, 2.6, experiment=name, text=ended)
    unfinished(tmp_path, "twin", 7, {"state": "failed", "reason": HOSTILE}, name)
    path, _ = written(tmp_path, expected("flat", "twin"), f"{HOSTILE} & </p>", name)
    with opened(browser, path) as seen:
        assert seen.page.title() == f"{name}: report"
        assert seen.page.locator("h1").inner_text() == name
        assert seen.page.locator("img").count() == 0
        assert seen.page.locator(".hypothesis").inner_text() == f"{HOSTILE} & </p>"
        assert HOSTILE in seen.page.locator("#verdicts").inner_text()
        assert "\\ud800" in seen.page.locator("#samples").inner_text()
        seen.clean()


def test_the_index_needs_no_script(browser: Browser, tmp_path: Path) -> None:
    full_study(tmp_path)
    found = entries(tmp_path, load_records(tmp_path), {"study": Question(HOSTILE, FULL, "flat", Rule())})
    (tmp_path / "report.html").write_text(index_page(found))
    with opened(browser, tmp_path / "report.html", 400, color_scheme="dark") as seen:
        assert seen.page.locator(".hypothesis").inner_text() == HOSTILE
        said = seen.page.locator("main").inner_text()
        assert "Worse than flat: parallel_head" in said
        assert "2 without a verdict" in said  # their fourth seeds were begun and are not there
        assert seen.page.locator("script").count() == 0
        assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= 400
        seen.clean()


def test_names_of_rows_are_not_markup_in_figures(browser: Browser, tmp_path: Path) -> None:
    name = "a<b>c & $x^2$"  # no variant may be called so now; a committed line may say anything
    for variant, bpb in (("flat", 2.5), (name, 2.4)):
        write_run(tmp_path, variant, 0, bpb)
        write_run(tmp_path, variant, 1, bpb + 0.01)
    path, _ = written(tmp_path, expected("flat", name))
    with opened(browser, path) as seen:
        legend = seen.page.locator("#figure-learning .legendtext").all_text_contents()
        assert legend == ["flat", name]
        seen.clean()


def test_one_run_alone(browser: Browser, tmp_path: Path) -> None:
    write_run(tmp_path, "flat", 0, 2.5)
    path, made = written(tmp_path, expected("flat", "local"))
    assert made.figures == ("learning", "slots", "positions")
    with opened(browser, path) as seen:
        assert "no finished run" in seen.page.locator(".judged").inner_text()
        assert "No row has a difference" in seen.page.locator("#differences").inner_text()
        assert "not run" in seen.page.locator(".notes").inner_text()
        seen.clean()


def test_runs_that_did_not_finish_are_listed(browser: Browser, tmp_path: Path) -> None:
    write_run(tmp_path, "flat", 0, 2.5)
    unfinished(tmp_path, "flat", 1, {"state": "failed", "reason": "loss is NaN at step 12"})
    unfinished(tmp_path, "local", 0, None)
    unfinished(tmp_path, "local", 1, {"state": "running", "host": "elsewhere", "pid": 1})
    path, _ = written(tmp_path, expected("flat", "local"))
    with opened(browser, path) as seen:
        listed = seen.page.locator("[aria-label='Unfinished runs']").inner_text()
        for said in ("failed", "loss is NaN at step 12", "empty", "running"):
            assert said in listed
        seen.clean()


def test_committed_runs_only(browser: Browser, tmp_path: Path) -> None:
    full_study(tmp_path / "here")
    committed_only(tmp_path / "here", tmp_path / "clone")
    noise(tmp_path / "clone")
    path, made = written(tmp_path / "clone", expected(*FULL))
    assert made.figures == FIGURES
    with opened(browser, path) as seen:
        assert "known from runs.jsonl alone" in seen.page.locator("#learning").inner_text()
        assert "directories of runs" in seen.page.locator("#samples").inner_text()
        assert "Commit and environment of 14 runs are not here" in seen.page.locator("#again").inner_text()
        ends = [t["x"][-1] for t in traces(seen.page, "learning")]
        assert ends
        assert all(999_999 <= end <= 1_000_001 or end == 125_000 for end in ends)
        seen.clean()


def test_thirty_runs_in_ten_rows(browser: Browser, tmp_path: Path) -> None:
    names = [f"variant_{i}" for i in range(10)]
    for i, name in enumerate(names):
        for seed in range(3):
            write_run(tmp_path, name, seed, 2.5 + 0.02 * i + 0.005 * seed)
    path, made = written(tmp_path, expected(*names))
    assert len(made.text.encode()) < 5e6
    with opened(browser, path) as seen:
        lines = {t["name"] for t in traces(seen.page, "learning")}
        assert lines == set(names)
        seen.clean()
