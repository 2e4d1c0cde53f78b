"""What stands on the report and in which order, beside the outline agreed on.

``UPDATE_GOLDEN=1 python -m pytest tests/golden/test_report_page.py`` writes the outline anew.
"""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

from tests.report_sample import rendered, rendered_whole

GOLDEN = Path(__file__).parent


class _Outline(HTMLParser):
    """Headings, captions, column heads, folds, charts and figures of a page, in order."""

    _TOLD = frozenset({"h1", "h2", "h3", "caption", "summary", "dt", "legend"})

    def __init__(self, page):
        super().__init__()
        self.lines, self._tag, self._text = [], None, ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag in self._TOLD or (tag == "th" and found.get("scope") == "col"):
            self._tag, self._text = tag, ""
        for key in ("data-chart", "data-figure"):
            if key in found:
                self.lines.append(f"{key.removeprefix('data-')}: {found[key]}")

    def handle_data(self, data):
        self._text += data

    def handle_endtag(self, tag):
        if tag == self._tag:
            # Counts move with the sample; what is counted does not.
            told = re.sub(r"\d[\d,.]*", "#", " ".join(self._text.split()))
            self.lines.append(f"{tag}: {told}")
            self._tag = None


def _check(page, name):
    outline = "\n".join(_Outline(page.split("<body")[1]).lines) + "\n"
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(outline, encoding="utf-8")
    assert outline == path.read_text(encoding="utf-8")


def test_a_report_in_which_nothing_is_absent_has_the_outline_agreed_on():
    _check(rendered_whole()[1], "report_whole.txt")


def test_a_first_run_without_groups_reviews_and_tests_has_the_outline_agreed_on():
    _check(rendered()[1], "report_first_run.txt")
