"""What a model does with sentences whose right answer is beyond doubt."""

from typing import Any

import numpy as np

from tidegate.evaluation.intervals import FloatArray, wilson
from tidegate.records import FunctionalityResult, FunctionalReport, IdentityShift


def functional_report(
    scored: Any, threshold: float | FloatArray | None, *, confidence: float
) -> FunctionalReport | None:
    """Return pass rates a functionality, and what swapping one identity for another changes.

    Parameters
    ----------
    scored : DataFrame
        ``_functionality``, ``_template``, ``_identity``, ``_expected`` and ``score``.
    threshold : float, array or None
        One for all sentences or one a sentence. Without one nothing is flagged, and nothing can
        pass or fail.
    confidence : float
        Two-sided, of Wilson intervals whose rows are templates: the sentences of one template
        pass and fail together, and count as one.

    References
    ----------
    Röttger et al., "HateCheck", ACL 2021. Garg et al., "Counterfactual fairness in text
    classification through robustness", AIES 2019 (identity swaps).
    """
    if threshold is None or not len(scored):
        return None
    table = scored.assign(flagged=scored["score"] >= threshold)
    table["passed"] = table["flagged"] == (table["_expected"] == 1)
    results = []
    for functionality, cases in table.groupby("_functionality", sort=False):
        rates = cases.groupby("_template")["passed"].mean()
        results.append(
            FunctionalityResult(
                functionality=str(functionality),
                violating=bool(cases["_expected"].iloc[0]),
                cases=len(cases),
                templates=len(rates),
                passed=int(cases["passed"].sum()),
                pass_rate=float(rates.mean()),
                pass_rate_ci=wilson(float(rates.sum()), len(rates), confidence),
            )
        )
    return FunctionalReport(
        cases=len(table),
        passed=int(table["passed"].sum()),
        functionalities=tuple(results),
        **_swaps(table[table["_identity"] != ""], confidence),
    )


def _swaps(table: Any, confidence: float) -> dict[str, Any]:
    """Compare the sentences of one template that differ in the identity alone."""
    kinds = table.groupby("_template")["_identity"].transform("nunique")
    swapped = table[kinds >= 2]
    if not len(swapped):
        return {}
    templates = swapped.groupby("_template")
    shares = templates["flagged"].mean().to_numpy()
    flipped = int(((shares > 0) & (shares < 1)).sum())
    spread = templates["score"].max() - templates["score"].min()
    shifted = swapped.assign(shift=swapped["score"] - templates["score"].transform("mean"))
    return {
        "swapped_templates": len(shares),
        "flipped_templates": flipped,
        "flip_rate": flipped / len(shares),
        "flip_rate_ci": wilson(flipped, len(shares), confidence),
        "mean_score_range": float(np.mean(spread)),
        "identities": tuple(
            IdentityShift(
                identity=str(identity),
                cases=len(cases),
                score_shift=float(cases["shift"].mean()),
                flagged=int(cases["flagged"].sum()),
                passed=int(cases["passed"].sum()),
            )
            for identity, cases in shifted.groupby("_identity", sort=True)
        ),
    }
