"""The report is one file that asks nothing of a network and shows no row."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import yaml

from tests.report_sample import (
    CONFIG,
    audited,
    checks,
    evaluation_of,
    everything,
    rendered,
    rendered_whole,
    snapshot,
)
from tidegate.evaluation.audit import audit_record
from tidegate.evaluation.model_card import model_card
from tidegate.evaluation.report import approved_page
from tidegate.records import Approval, AuditRecord
from tidegate.store import digest_json


@pytest.fixture(scope="module")
def promoted():
    return rendered()


def test_the_lineage_tells_what_the_search_cost_and_which_image_ran(promoted):
    _, page, _ = promoted
    section = page.split('<section id="lineage"', 1)[1].split("</section>", 1)[0]
    assert "Cost of the search: 0.5 EUR (12 CPU h, 24 GiB h, 0 GPU h requested)." in section
    assert CONFIG["cluster"]["image"] in section
    assert "ab" * 32 in section


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
        if self.script and "data-chart" in self.script:
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


def test_of_the_confident_errors_it_shows_ids_and_texts_only_when_they_are_given():
    found, page, _ = rendered_whole()
    error = found.confident_errors[0]
    row = page.split(f"<code>{error.id}</code>")[1].split("</tr>")[0]
    assert "topic: hard" in row
    assert "report: {texts: true}" in page
    shown = rendered_whole(texts={error.id: "a <i>text</i>"})[1]
    assert "a &lt;i&gt;text&lt;/i&gt;" in shown
    assert "report: {texts: true}" not in shown


def test_what_is_absent_says_how_to_get_it(promoted):
    page = promoted[1]
    for key in ("data.golden_set", "data.functional_tests", "policy.review_capacity"):
        assert key in page
    whole = rendered_whole()[1]
    assert "No golden set was scored" not in whole
    assert "served 3 decisions" in whole


def test_the_decision_and_its_reasons_stand_on_top(promoted):
    found, page, _ = promoted
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
            "pairs",
            "baseline",
            "prevalence",
            "search",
            "learning",
            "reliability",
            "learning-0",
            "learning-1",
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
    assert "insufficient data" in page
    assert "Validation was lowest at step 4" in page
    assert "ab" * 32 in page


def test_the_configuration_reads_back(promoted):
    text = promoted[1].split('aria-label="Configuration in YAML">')[1].split("</pre>")[0]
    assert yaml.safe_load(text) == CONFIG


def test_a_hold_says_so_and_shows_the_best_point():
    found, page, _ = rendered(strength=0.5)
    assert found.decision == "hold"
    assert '<div class="banner hold">' in page
    assert "The best reachable point" in page
    assert "no threshold, nothing flagged" in page


def test_the_audit_record_holds_what_a_transparency_report_asks_for():
    found, audit = evaluation_of()[0], audited()
    assert audit.approval is None
    assert audit.labels.values == {"spam": 1, "ham": 0}
    assert audit.labels.weights == {"appeal": 1.0, "report": 0.3}
    assert audit.lineage["image"] == CONFIG["cluster"]["image"]
    assert audit.lineage["configuration"] == digest_json(CONFIG)
    assert audit.metric("precision").low == found.precision_lower_bound
    assert (audit.metric("recall").low, audit.metric("recall").high) == found.recall_ci
    assert audit.fairness == found.fairness
    assert AuditRecord.model_validate_json(audit.model_dump_json()) == audit


def test_the_model_card_tells_use_figures_limits_and_lineage():
    found, card = evaluation_of()[0], model_card(audited())
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Intended use",
        "## Data",
        "## Labels",
        "## Performance on the holdout",
        "## Candidate and baseline",
        "## Groups",
        "## Where it is wrong",
        "## Functional tests",
        "## Golden set",
        "## Limits",
        "## Approval",
        "## Lineage",
    ]
    assert f"{found.threshold:.6f}" in card
    assert "ab" * 32 in card
    assert "report 0.3" in card
    assert "Nobody has approved this model yet." in card
    assert all(" ".join(reason.split()) in card for reason in found.reasons)
    tables = [block for block in card.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_classes_of_a_model_that_has_them_stand_in_page_card_and_audit():
    _, page, _ = rendered(classes=True)
    audit = audited(classes=True)
    assert "Macro-F1 0.774" in page
    assert "over pairs of classes" not in page
    assert page.split('aria-label="Figures by class"')[1].split("</table>")[0].count("<tr>") == 3
    assert audit.metric("macro_f1").value == 0.7745
    assert audit.metric("roc_auc_ovo") is None
    assert "| spam\\|ads | 90 | 90 % | 80 % | 0.847 | 0.913 |" in model_card(audit)


def test_the_card_of_an_approved_model_names_who_answers_for_it():
    approval = Approval(approved_by="policy lead", approved_at="2026-03-01T09:00:00+00:00")
    card = model_card(audited().model_copy(update={"approval": approval}))
    assert "Approved by policy lead at 2026-03-01T09:00:00+00:00." in card


def test_the_card_of_a_whole_evaluation_tells_errors_tests_and_golden_set():
    found = everything()[0]
    audit = audit_record(
        evaluation=found,
        snapshot=snapshot(),
        data_validation=checks(),
        config=CONFIG,
        digests={},
    )
    card = model_card(audit)
    assert "topic: hard" in card
    assert "| hostility plain | flag |" in card
    assert "earlier candidates on the same rows: 1." in card
    assert "Decisions that these rows have served: 3." in card
    assert audit.metric("calibration_error").high == found.calibration.error_ci[1]
    assert audit.metric("false_negative_rate").value == pytest.approx(1 - found.recall)


def test_what_is_served_and_what_stands_beside_it_is_told_on_page_and_card():
    found, page, _ = rendered_whole()
    audit = audit_record(
        evaluation=found,
        snapshot=snapshot(),
        data_validation=checks(),
        config=CONFIG,
        digests={},
    )
    card = model_card(audit)
    [treated] = found.mitigations
    low, high = treated.differences["average_precision"].difference_ci
    for text in (f"{low:+.3f} to {high:+.3f}", "group robust", "untreated"):
        assert text in page
        assert text in card
    for segment in found.segments:
        assert f"{segment.threshold.value:.4f}" in page
        assert f"{segment.threshold.value:.6f}" in card
    assert "✕ broken, not served" in page
    assert "none: its promise is broken on the holdout" in card
    assert "60 to 64 %" in page
    assert "62 % of posts stop there (60 to 64 %)" in card
    assert AuditRecord.model_validate_json(audit.model_dump_json()) == audit


def test_figures_without_a_threshold_have_intervals(promoted):
    found, audit = promoted[0], audited()
    for name in ("average_precision", "roc_auc", "log_loss", "brier_score"):
        metric = audit.metric(name)
        assert metric.low < getattr(found, name) < metric.high
        assert f"{metric.low:.3f} to {metric.high:.3f}" in model_card(audit)
        assert f"{metric.low:.3f} to {metric.high:.3f}" in promoted[1]


def test_the_page_says_who_approved_it_and_nobody_can_write_markup_by_it(promoted):
    assert "Released without a person’s approval (rollout.approval: auto)." in promoted[1]
    approval = Approval(
        approved_by="policy lead", approved_at="2026-03-01T09:00:00+00:00", note="<b>fine</b>"
    )
    page = approved_page(promoted[1], approval)
    assert "Approved by policy lead at 2026-03-01T09:00:00+00:00. &lt;b&gt;fine" in page
    assert "Released without a person" not in page
    later = approval.model_copy(update={"approved_by": "somebody else"})
    assert "policy lead" not in approved_page(page, later)
    assert approved_page("<html>another page</html>", approval) == "<html>another page</html>"


def test_the_card_of_a_refused_model_names_no_use():
    assert "must not act on posts" in model_card(audited(strength=0.5))
