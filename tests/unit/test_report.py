"""The report is one file that asks nothing of a network and shows no row."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml

from tidegate.config import PolicyConfig
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.model_card import model_card
from tidegate.evaluation.report import render_report
from tidegate.records import (
    Column,
    CurvePoint,
    DuplicateSummary,
    Expectation,
    SearchResult,
    Snapshot,
    SplitSummary,
    TrialResult,
    ValidationReport,
)

HOSTILE = "</script><b>x</b>|&"


def scored(rows, seed, strength=6.0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(int)
    return pd.DataFrame(
        {
            "id": [f"secret-row-{i}" for i in range(rows)],
            "label": labels,
            "weight": 1.0,
            "score": 1 / (1 + np.exp(-(strength * (labels - 0.5) + rng.normal(size=rows)))),
            "lang": np.where(rng.random(rows) < 0.5, "en", HOSTILE),
            "tiny": np.where(np.arange(rows) < 4, "rare", None),
        }
    )


def evaluation_of(strength=6.0):
    validation, holdout = scored(3000, 0, strength), scored(3000, 1, strength)
    found = evaluate(
        validation,
        holdout,
        baseline=Baseline("logistic", "benchmark_model", 0.5, holdout, note="First run."),
        policy=PolicyConfig(insufficient_fairness="allow"),
        groups=("lang", "tiny"),
        name="comments",
        algorithm="xgboost",
        prevalence={"train": 0.49, "validation": 0.3, "holdout": 0.048},
    )
    return found, validation, holdout


def search():
    curve = tuple(
        CurvePoint(
            step=step,
            train_log_loss=1 / step,
            validation_log_loss=0.5 + 0.01 * abs(step - 4),
            validation_average_precision=0.8,
        )
        for step in range(1, 9)
    )
    done = {"status": "succeeded", "curve": curve, "seconds": 2.0, "log_loss": 0.5}
    return SearchResult(
        trials=(
            TrialResult(
                number=0, algorithm="logistic", params={"C": 1.0}, average_precision=0.8, **done
            ),
            TrialResult(
                number=1, algorithm="xgboost", params={"depth": 6}, average_precision=0.85, **done
            ),
            TrialResult(
                number=2, algorithm="xgboost", params={}, status="failed", seconds=1.0, error="full"
            ),
        ),
        best=1,
        benchmark=0,
        seconds=5.0,
        stopped_by="trials",
    )


def snapshot():
    return Snapshot(
        name="comments",
        digest="ab" * 32,
        columns=(Column(name="body|raw", kind="text"),),
        groups=("lang", "tiny"),
        splits={
            "train": SplitSummary(
                rows=9000, violating=4410, prevalence=0.49, time_start="2001", time_end="2002"
            ),
            "validation": SplitSummary(rows=3000, violating=900, prevalence=0.3),
            "holdout": SplitSummary(rows=3000, violating=144, prevalence=0.048),
        },
        label_values={"spam": 1, "ham": 0},
        duplicates=DuplicateSummary(
            exact_within_train=12,
            exact_train_validation=3,
            exact_train_holdout=5,
            near_train_validation=7,
            near_train_holdout=1234,
            dropped_validation=3,
            dropped_holdout=5,
            near_similarity=0.9,
        ),
        notices=("Five rows without text were dropped.",),
    )


def checks():
    return ValidationReport(
        passed=True,
        expectations=(
            Expectation(
                split="holdout",
                name="prevalence_between",
                column="label",
                severity="warning",
                passed=False,
                observed="0.048",
                expected="0.39 to 0.59",
            ),
            Expectation(
                split="train", name="ids_unique", column="id", severity="critical", passed=True
            ),
        ),
    )


CONFIG = {"name": "comments", "policy": {"min_precision": 0.9, "prevalence": None}}
DIGESTS = {"data": "ab" * 32, "code": "cd" * 32}


def rendered(strength=6.0):
    found, validation, holdout = evaluation_of(strength)
    page = render_report(
        evaluation=found,
        validation_scored=validation,
        holdout_scored=holdout,
        search=search(),
        data_validation=checks(),
        snapshot=snapshot(),
        config=CONFIG,
        digests=DIGESTS,
        search_cost="0.5 EUR (12 CPU h, 24 GiB h, 0 GPU h requested)",
    )
    return found, page


@pytest.fixture(scope="module")
def promoted():
    return rendered()


def test_the_search_section_tells_what_the_search_cost(promoted):
    _, page = promoted
    section = page.split('<section id="search"', 1)[1].split("</section>", 1)[0]
    assert "Cost of the search: 0.5 EUR (12 CPU h, 24 GiB h, 0 GPU h requested)." in section


class _Page(HTMLParser):
    """Tags, headings, ids, addresses and the data of the charts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.addresses, self.headings, self.specs = [], [], [], [], []
        self.rules, self.script = [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[key] for key in ("href", "src", "action", "data") if key in found]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.script = found if tag in {"script", "style"} else None

    def handle_data(self, data):
        if self.script and self.script.get("type") == "application/json":
            self.specs.append((self.script["data-chart"], json.loads(data)))
            self.script = None


def test_it_loads_nothing(promoted):
    page = _Page(promoted[1])
    assert set(page.addresses) - {a for a in page.addresses if a.startswith("#")} == {
        "validation/docs/index.html"
    }
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "http" not in policy
    style = promoted[1].split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert all("http" not in json.dumps(spec) for _, spec in page.specs)


def test_it_is_small_and_holds_the_chart_library_once(promoted):
    assert len(promoted[1]) < 2_000_000
    assert promoted[1].count("window.vegaEmbed=") == 1


def test_it_holds_no_row(promoted):
    assert "secret-row-" not in promoted[1]
    for _, spec in _Page(promoted[1]).specs:
        assert max(map(len, spec["datasets"].values())) <= 500


def test_the_decision_and_its_reasons_stand_on_top(promoted):
    found, page = promoted
    banner = page.split('<div class="banner promote">')[1].split("</div>")[0]
    assert page.index("banner promote") < page.index("<main")
    assert "Promote" in banner
    assert banner.count("<li>") == len(found.reasons) > 3


def test_every_chart_has_a_place_and_a_description(promoted):
    page = _Page(promoted[1])
    names = {name for name, _ in page.specs}
    assert names == {
        f"chart-{name}"
        for name in (
            "precision-recall",
            "scores",
            "scores-validation",
            "gaps",
            "baseline",
            "prevalence",
            "search",
            "learning",
            "groups-0",
            "groups-1",
        )
    }
    assert names <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(spec["description"] for _, spec in page.specs)


def test_it_can_be_read_by_keyboard_and_screen_reader(promoted):
    page = _Page(promoted[1])
    assert ("html", {"lang": "en"}) in page.tags
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(page.headings))
    assert all(a["href"][1:] in page.ids for t, a in page.tags if a.get("href", "").startswith("#"))
    assert all("aria-label" in a for t, a in page.tags if a.get("role") == "region")


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(promoted, scheme):
    blocks = re.findall(r":root \{(.*?)\}", promoted[1].split("@media print")[0], re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[scheme == "dark"]))
    pairs = [(ink, "card") for ink in ("ink", "muted", "link", "good", "bad", "unsure")]
    pairs += [("ink", "page"), ("muted", "page"), ("link", "page")]
    pairs += [(t, f"{t}-soft") for t in ("good", "bad", "unsure")]
    pairs += [("ink", f"{t}-soft") for t in ("good", "bad", "unsure")]
    for text, ground in pairs:
        low, high = sorted((luminance(colours[text]), luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def test_names_from_the_data_cannot_end_an_element(promoted):
    assert "<b>x</b>" not in promoted[1]
    assert "&lt;/script&gt;&lt;b&gt;x" in promoted[1]


def test_what_the_data_did_is_visible(promoted):
    page = promoted[1]
    assert "Prior shift: 49 % of the rows violate in train, 4.8 % in holdout." in page
    assert "1,234" in page
    assert "Five rows without text were dropped." in page
    assert "prevalence_between" in page
    assert "observed 0.048" in page
    assert "ids_unique" not in page
    assert "too few rows to judge" in page
    assert "insufficient data" in page
    assert "Validation was lowest at step 4" in page
    assert "ab" * 32 in page


def test_the_configuration_reads_back(promoted):
    text = promoted[1].split('aria-label="Configuration in YAML">')[1].split("</pre>")[0]
    assert yaml.safe_load(text) == CONFIG


def test_a_hold_says_so_and_shows_the_best_point():
    found, page = rendered(strength=0.5)
    assert found.decision == "hold"
    assert '<div class="banner hold">' in page
    assert "The best reachable point" in page
    assert "no threshold, nothing flagged" in page


def test_the_model_card_tells_use_figures_limits_and_lineage(promoted):
    found, _ = promoted
    card = model_card(evaluation=found, snapshot=snapshot(), digests=DIGESTS)
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Intended use",
        "## Data",
        "## Performance on the holdout",
        "## Groups",
        "## Limits",
        "## Lineage",
    ]
    assert f"{found.threshold:.6f}" in card
    assert "ab" * 32 in card
    assert all(reason in card for reason in found.reasons)
    tables = [block for block in card.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_card_of_a_refused_model_names_no_use():
    found, _, _ = evaluation_of(strength=0.5)
    card = model_card(evaluation=found, snapshot=snapshot(), digests=DIGESTS)
    assert "must not act on posts" in card
