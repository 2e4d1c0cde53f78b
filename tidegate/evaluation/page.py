"""Self-contained HTML pages: one file, no address, one look.

Vega draws the charts in the page (0.8 MB, inlined) instead of us drawing pictures beforehand: they
follow the width, the theme and the slider, and have tooltips.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.evaluation.charts import Spec
from tidegate.evaluation.decision import percent, points, span

_PAGES = Path(__file__).parent / "pages"


def render_page(
    template: str, *, folders: Sequence[Path] = (), charts: Mapping[str, Spec | None], **values: Any
) -> str:
    """Return a page that loads nothing: style, script, data and the chart library stand in it.

    Parameters
    ----------
    template : str
        Name of a template that extends ``page.html``.
    folders : sequence of Path
        Where templates lie beside this package's own.
    charts : mapping
        Name to Vega-Lite specification; what is None is left out.
    **values
        What the template shows.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_PAGES, *folders]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "percent": lambda share: "–" if share is None else percent(share),
        "points": lambda share: "–" if share is None else points(share),
        "span": lambda interval: "" if interval is None else span(interval),
        "count": lambda number: "–" if number is None else f"{number:,}",
        "amount": amount,
        "embedded": embedded,
    }
    environment.filters |= filters
    return environment.get_template(template).render(
        charts={name: embedded(spec) for name, spec in charts.items() if spec is not None},
        library=_charting_library(),
        **values,
    )


def amount(number: float | None) -> str:
    """Write an expected number of things or of money with the digits that matter."""
    if number is None:
        return "–"
    if number == 0:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def embedded(value: object) -> str:
    """Return a value as JSON that may stand inside a script element."""
    # Only "<" can end the data early there, and JSON may spell it as an escape.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@functools.cache
def _charting_library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that may stand inside HTML."""
    import vl_convert

    # Its stubs call the snippet required; without one Vega, Vega-Lite and vega-embed all come.
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return bundle.replace("</script", "<\\/script")
