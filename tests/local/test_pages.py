"""The pages as a reader meets them: opened from disk in a browser without a network."""

import shutil
from dataclasses import dataclass, field

import pytest

from pipelines.run_record import RunRecord
from pipelines.runs_page import runs_page
from tests.report_sample import evaluation_of, rendered, rendered_whole
from tidegate.config import PolicyConfig
from tidegate.evaluation.fairness import audit
from tidegate.evaluation.measurement import measure
from tidegate.evaluation.operating_curve import RATES, load_at, operating_curve
from tidegate.store import write_record

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
COSTS = {
    "wrong_removal": 4.0,
    "missed_violation": 1.5,
    "appeal": 2.0,
    "appeal_share": 0.2,
    "review_minute": 0.5,
    "review_minutes": 1.5,
}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# For every element with a text of its own: its contrast with what lies behind it, as WCAG 2.2
# defines it. The computed colours are opaque; a transparent ground shows the one behind.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || element.closest("script, style, noscript, .skip, .hidden, :disabled")) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(rgb(ink)), luminance(ground(element))].sort((x, y) => x - y);
    found.push([element.textContent.trim().slice(0, 40), (b + 0.05) / (a + 0.05)]);
  }
  return found;
}"""


@dataclass
class Visit:
    """A page, and what it did that it must not do."""

    page: object
    complaints: list = field(default_factory=list)

    def number(self, key):
        return float(self.page.get_attribute(f'[data-figure="{key}"]', "data-number"))

    def text(self, selector):
        return self.page.inner_text(selector)

    def move(self, slider, stop):
        self.page.eval_on_selector(
            f"#{slider}",
            "(e, stop) => { e.value = stop; e.dispatchEvent(new Event('input')); }",
            stop,
        )


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS]) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def sample():
    return rendered()


@pytest.fixture(scope="module")
def whole():
    return rendered_whole()[1]


@pytest.fixture
def visit(browser, tmp_path):
    opened = []

    def open_(html, **context):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_context(**context).new_page()
        seen = Visit(page)
        page.on("console", lambda said: seen.complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: seen.complaints.append(asked.url) if asked.url != path.as_uri() else None,
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=60_000)
        opened.append(seen)
        return seen

    yield open_
    for seen in opened:
        seen.page.context.close()
        assert seen.complaints == []


def curve_of(found, holdout, policy):
    return operating_curve(
        holdout,
        confidence=found.confidence,
        prevalence=policy.get("prevalence"),
        groups=found.groups,
        keep=[found.threshold],
    )


@pytest.mark.parametrize(
    ("policy", "weighted"),
    [
        ({}, False),
        ({"posts_per_day": 40_000, "costs": COSTS, "prevalence": 0.05}, True),
    ],
    ids=["per thousand posts", "weighted rows, a day, at a stated prevalence"],
)
def test_the_slider_shows_what_python_measures_at_that_threshold(visit, policy, weighted):
    found, html, holdout = rendered(weighted=weighted, **policy)
    curve, seen = curve_of(found, holdout, policy), visit(html)
    start = curve.nearest(found.threshold)
    posts = policy.get("posts_per_day", 1000)
    for act in (start, 0, 40, curve.cuts.size // 2, curve.cuts.size - 1):
        seen.move("act", act)
        review = act // 2
        seen.move("review", review)
        measured = measure(
            holdout,
            float(curve.cuts[act]),
            confidence=found.confidence,
            prevalence=policy.get("prevalence"),
        )
        assert seen.number("precision") == pytest.approx(measured.precision)
        assert seen.number("recall") == pytest.approx(measured.recall)
        assert f"{measured.flagged:,} of 3,000" in seen.text('[data-figure="flagged"] .note')
        bound = shown(seen.text('[data-figure="precision"] .note').split("(")[0])
        assert bound == pytest.approx([measured.precision_lower_bound], abs=6e-4)
        interval = shown(seen.text('[data-figure="recall"] .note'))
        assert interval == pytest.approx(measured.recall_ci, abs=6e-4)
        load = load_at(curve, act, review, posts=posts, costs=policy.get("costs"))
        for key in ("flagged", "wrong", "missed", "reviewed"):
            assert seen.number(key) == pytest.approx(getattr(load, key), rel=1e-9, abs=1e-6), key
        if "costs" in policy:
            assert seen.number("appeals") == pytest.approx(load.appeals)
            assert seen.number("cost") == pytest.approx(load.cost)


def shown(text):
    """Return the shares that a text names in per cent."""
    words = text.replace("at least", "").replace("%", "").split(" to ")
    return [float(word) / 100 for word in words]


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weighted rows"])
def test_the_slider_moves_the_groups(visit, weighted):
    found, html, holdout = rendered(weighted=weighted)
    curve, seen = curve_of(found, holdout, {}), visit(html)
    stop = curve.cuts.size // 3
    seen.move("act", stop)
    cut = float(curve.cuts[stop])
    groups, _ = audit(holdout, groups=["lang", "tiny"], threshold=cut, policy=PolicyConfig())
    flagged = holdout["score"] >= cut
    for number, group in enumerate(groups):
        known = holdout[group.column].fillna("(none)") == group.group
        row = f"#by-group tr:nth-child({number + 1})"
        assert seen.text(f'{row} [data-key="flagged"]') == f"{int((known & flagged).sum()):,}"
        for name in RATES:
            [rate] = shown(seen.text(f'{row} [data-key="{name}"] b'))
            assert rate == pytest.approx(getattr(group, name), abs=6e-4)
            interval = shown(seen.text(f'{row} [data-key="{name}"] small'))
            assert interval == pytest.approx(getattr(group, f"{name}_ci"), abs=6e-4)


def test_before_anybody_moves_it_the_slider_shows_the_decision(visit, sample):
    found, html, _ = sample
    seen = visit(html)
    assert seen.number("precision") == pytest.approx(found.precision)
    assert seen.number("recall") == pytest.approx(found.recall)
    assert seen.text("#act-value") == f"{found.threshold:.4f}"
    written = dict(figures(html))
    assert written
    for key, text in written.items():
        assert seen.text(f'[data-figure="{key}"] .value') == text


def figures(html):
    """Return the slider's figures as they were written, without a script."""
    for part in html.split("<footer>")[0].split('data-figure="')[1:]:
        key, _, after = part.partition('"')
        yield key, after.split('class="value">', 1)[1].split("<", 1)[0]


def test_the_arrow_keys_move_the_slider_the_charts_and_what_is_read_aloud(visit, sample):
    _, html, _ = sample
    seen = visit(html)
    marks = seen.page.inner_html("#chart-precision-recall svg")
    before = seen.text("#act-value")
    seen.page.focus("#act")
    for _ in range(5):
        seen.page.keyboard.press("ArrowLeft")
    assert float(seen.text("#act-value")) < float(before)
    assert seen.page.inner_html("#chart-precision-recall svg") != marks
    spoken = seen.page.get_attribute("#act", "aria-valuetext")
    assert spoken.startswith(seen.text("#act-value"))
    assert "recall" in spoken
    seen.page.click("#back")
    assert seen.text("#act-value") == before
    assert seen.page.inner_html("#chart-precision-recall svg") == marks


def test_review_never_starts_above_the_threshold_that_acts(visit, sample):
    _, html, _ = sample
    seen = visit(html)
    seen.move("act", 100)
    seen.move("review", 60)
    assert seen.number("reviewed") > 0
    seen.move("act", 30)
    assert seen.number("reviewed") == 0
    seen.move("review", 90)
    assert seen.number("reviewed") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("promoted", [True, False], ids=["promoted", "held"])
def test_text_has_the_contrast_of_wcag_aa(visit, sample, scheme, promoted):
    html = sample[1] if promoted else rendered(strength=0.5)[1]
    seen = visit(html, color_scheme=scheme)
    seen.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    found = seen.page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_the_switch_overrides_the_readers_system(visit, sample):
    seen = visit(sample[1], color_scheme="light")

    def ground():
        return seen.page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = ground()
    seen.page.check("input[name=theme][value=dark]", force=True)
    dark = ground()
    assert dark != light
    seen.page.reload()
    seen.page.wait_for_selector("html[data-drawn]")
    assert ground() == dark
    seen.page.check("input[name=theme][value='']", force=True)
    assert ground() == light


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_wider_than_the_screen(visit, sample, width):
    seen = visit(sample[1], viewport={"width": width, "height": 800})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_shows_the_decision_in_light_without_the_controls(visit, sample):
    seen = visit(sample[1], color_scheme="dark")
    seen.page.emulate_media(media="print")
    assert not seen.page.is_visible("nav")
    assert not seen.page.is_visible("#back")
    assert seen.page.is_visible("h1")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


def test_a_fold_opens_by_keyboard_and_its_chart_is_drawn(visit, whole):
    seen = visit(whole)
    fold = seen.page.locator("details", has=seen.page.locator("#chart-pairs")).first
    assert not seen.page.is_visible("#chart-pairs")
    fold.locator("summary").first.focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("#chart-pairs svg", state="visible")
    wide = fold.evaluate("e => [e.querySelector('svg').clientWidth, e.clientWidth]")
    assert wide[0] <= wide[1]
    seen.page.keyboard.press("Enter")
    assert not seen.page.is_visible("#chart-pairs")


def test_paper_unfolds_everything_and_cuts_nothing_off(visit, whole):
    # A4 less its margins, at 96 dots an inch.
    seen = visit(whole, viewport={"width": 688, "height": 1000})
    seen.page.emulate_media(media="print")
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert seen.page.locator("details:not([open])").count() == 0
    assert seen.page.is_visible("#chart-pairs svg")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 688


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_in_which_nothing_is_absent_has_the_contrast_of_wcag_aa(visit, whole, scheme):
    seen = visit(whole, color_scheme=scheme)
    seen.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert "broken, not served" in seen.text("#promise")
    assert "group robust" in seen.text("#fairness")
    assert "Share that stops early" in seen.text("#promise")
    assert [pair for pair in seen.page.evaluate(CONTRASTS) if pair[1] < 4.5] == []


def test_the_page_of_runs_is_drawn_and_has_the_contrast_of_wcag_aa(visit, tmp_path):
    found = evaluation_of()[0]
    runs = []
    for number in (1, 2):
        folder = tmp_path / f"run-{number}"
        write_record(folder / "evaluation.json", found)
        record = RunRecord(
            name="comments",
            status="done",
            started_at=f"2026-03-0{number}T09:00:00+00:00",
            run_digest="r",
            config={"search": {"trials": number}},
            digests={"source": "d" * 64},
            versions={},
            steps=(),
            decision=found.decision,
            reasons=found.reasons,
        )
        runs.append((folder, record))
    for scheme in ("light", "dark"):
        seen = visit(runs_page(runs, beside=tmp_path), color_scheme=scheme)
        assert seen.page.is_visible("#chart-bounds svg")
        assert [pair for pair in seen.page.evaluate(CONTRASTS) if pair[1] < 4.5] == []
