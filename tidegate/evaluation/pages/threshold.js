// The formulas of tidegate/evaluation/operating_curve.py, at any stop of the slider.
const curve = JSON.parse(document.getElementById("curve").textContent);
const summed = (steps) => { let total = 0; return steps.map((step) => (total += step)); };
curve.flagged = summed(curve.flagged);
for (const group of curve.groups) {
  group.flagged = summed(group.flagged);
  group.right = summed(group.right);
  group.rows = group.n;
}
const wilson = (hits, rows) => {
  const z = curve.z, share = hits / rows, scale = 1 + z * z / rows;
  const centre = (share + z * z / (2 * rows)) / scale;
  const half = z * Math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / scale;
  const clip = (value, low, high) => Math.min(Math.max(value, low), high);
  return [hits <= 0 ? 0 : clip(centre - half, 0, share), hits >= rows ? 1 : clip(centre + half, share, 1)];
};
// A share of weighted rows: sums of hits and of misses, of weights and of their squares.
const worth = ([hits, misses], [hitSquares, missSquares]) => {
  const rows = hits + misses, mean = (hitSquares + missSquares) / rows;
  if (mean === 1) return rows;
  const right = hits + 2 * mean, wrong = misses + 2 * mean, share = right / (right + wrong);
  const spread = (1 - share) ** 2 * (hitSquares + 2 * mean ** 2) + share ** 2 * (missSquares + 2 * mean ** 2);
  return Math.max(share * (1 - share) * (right + wrong) ** 2 / spread - 4, 1);
};
const sides = (sums, stop) => {
  const flagged = sums.flagged[stop], right = sums.right[stop], wrong = flagged - right;
  return {precision: [right, wrong], recall: [right, sums.violating - right], fpr: [wrong, sums.rows - sums.violating - wrong]};
};
const recallSpan = (stop) => wilson(curve.hits[stop] / curve.totalHits * curve.violatingRows[stop], curve.violatingRows[stop]);
const sample = curve.totalHits / curve.totalMass;
const prevalence = curve.production ?? sample;
const inProduction = (precision) => {
  if (curve.production === null || precision <= 0 || precision >= 1) return precision;
  const ratio = (curve.production / (1 - curve.production)) / (sample / (1 - sample));
  return precision * ratio / (precision * ratio + 1 - precision);
};
const arriving = (stop) => [
  curve.posts * prevalence * curve.hits[stop] / curve.totalHits,
  curve.posts * (1 - prevalence) * (curve.mass[stop] - curve.hits[stop]) / (curve.totalMass - curve.totalHits),
];
const loadAt = (act, review) => {
  const [right, wrong] = arriving(act), [rightBelow, wrongBelow] = arriving(review);
  const reviewed = (rightBelow - right) + (wrongBelow - wrong);
  const missed = curve.posts * prevalence - rightBelow;
  const found = {flagged: right + wrong, wrong, reviewed, missed};
  if (curve.costs) {
    const costs = curve.costs, oneReview = (costs.review_minutes ?? 1) * (costs.review_minute ?? 0);
    found.appeals = wrong * (costs.appeal_share ?? 0);
    found.cost = wrong * (costs.wrong_removal ?? 0) + found.appeals * ((costs.appeal ?? 0) + oneReview)
      + missed * (costs.missed_violation ?? 0) + reviewed * oneReview;
  }
  return found;
};

const digits = (share) => (share > 0.99 && share < 1) || (share > 0 && share < 0.01) ? 2 : 1;
const bare = (share) => Math.abs(100 * share - Math.round(100 * share)) < 1e-9 ? String(Math.round(100 * share)) : (100 * share).toFixed(digits(share));
const percent = (share) => bare(share) + " %";
const span = ([low, high]) => bare(low) + " to " + percent(high);
const whole = (number) => number.toLocaleString("en-US", {maximumFractionDigits: 0});
const amount = (number) => number === 0 ? "0" : Math.abs(number) >= 100 ? whole(number) : number.toFixed(Math.abs(number) >= 10 ? 1 : 2);
// Whether the holdout shows the promise at one stop, looked at alone.
const told = (stop) => {
  const {figure, limit, words} = curve.promise;
  if (!figure || limit === null) return "The policy promises a cost below that of doing nothing; the cost stands below.";
  const wrong = curve.mass[stop] - curve.hits[stop], harmless = curve.totalMass - curve.totalHits;
  const [value, sure] = {
    precision: () => [inProduction(curve.hits[stop] / curve.mass[stop]), curve.low[stop]],
    recall: () => [curve.hits[stop] / curve.totalHits, recallSpan(stop)[0]],
    fpr: () => [wrong / harmless, wilson(wrong / harmless * curve.harmlessRows[stop], curve.harmlessRows[stop])[1]],
  }[figure]();
  const side = figure === "fpr" ? -1 : 1, name = figure === "fpr" ? "the false-positive rate" : figure;
  if (side * (sure - limit) >= 0) return `✓ The holdout shows ${words} here: ${name} is at ${side > 0 ? "least" : "most"} ${percent(sure)}.`;
  if (side * (value - limit) >= 0) return `? Not shown: ${name} is ${percent(value)} here but may be as ${side > 0 ? "low" : "high"} as ${percent(sure)}; promised is ${words}.`;
  return `✕ The promise is broken here: ${name} is ${percent(value)}, promised is ${words}.`;
};

const act = document.getElementById("act"), review = document.getElementById("review");
const back = document.getElementById("back");
const show = (key, number, value, note) => {
  const place = document.querySelector(`[data-figure="${key}"]`);
  if (!place) return;
  place.dataset.number = number;
  place.querySelector(".value").textContent = value;
  if (note) place.querySelector(".note").textContent = note;
};
const showGroup = (row, group, stop) => {
  row.querySelector('[data-key="flagged"]').textContent = whole(group.flagged[stop]);
  const mass = sides(group.mass ?? group, stop), squares = sides(group.squares ?? group, stop);
  for (const [key, [hits, misses]] of Object.entries(mass)) {
    const cell = row.querySelector(`[data-key="${key}"]`);
    const value = cell.querySelector("b"), interval = cell.querySelector("small");
    const rows = hits + misses, many = rows > 0 ? worth(mass[key], squares[key]) : 0;
    const [low, high] = many ? wilson(hits / rows * many, many) : [0, 0];
    value.textContent = many ? percent(hits / rows) : "–";
    interval.textContent = many ? span([low, high]) : "";
    const bar = cell.querySelector(".span");
    if (bar) bar.hidden = !many;
    if (bar) for (const [name, number] of [["--low", low], ["--high", high], ["--at", many ? hits / rows : 0]]) bar.style.setProperty(name, number);
  }
};
const update = () => {
  const stop = Number(act.value), from = Number(review.value);
  const precision = inProduction(curve.hits[stop] / curve.mass[stop]), low = curve.low[stop];
  const recall = curve.hits[stop] / curve.totalHits, load = loadAt(stop, from);
  const cut = curve.cuts[stop].toFixed(4);
  document.getElementById("act-value").textContent = cut;
  document.getElementById("review-value").textContent = from < stop ? curve.cuts[from].toFixed(4) : "the same: nothing goes to review";
  act.setAttribute("aria-valuetext", `${cut}: precision ${percent(precision)}, at least ${percent(low)}; recall ${percent(recall)}`);
  review.setAttribute("aria-valuetext", from < stop ? `${curve.cuts[from].toFixed(4)}: ${amount(load.reviewed)} reviews ${curve.unit}` : "nothing goes to review");
  document.getElementById("told").textContent = told(stop);
  show("precision", precision, percent(precision), `at least ${percent(low)} (${percent(curve.confidence)} confidence)`);
  show("recall", recall, percent(recall), span(recallSpan(stop)));
  show("flagged", load.flagged, amount(load.flagged), `${whole(curve.flagged[stop])} of ${whole(curve.rows)} holdout rows`);
  for (const key of ["wrong", "missed", "reviewed", "appeals", "cost"]) if (key in load) show(key, load[key], amount(load[key]));
  [...(document.getElementById("by-group")?.rows ?? [])].forEach((row, number) => showGroup(row, curve.groups[number], stop));
  back.disabled = stop === curve.start && from === stop;
  const point = {recall, precision, low, threshold: curve.cuts[stop]};
  for (const name of ["chart-precision-recall", "chart-scores"]) views[name]?.data("at", [point]).run();
};
act.addEventListener("input", () => {
  const alone = Number(review.value) === curve.shown;
  if (alone || Number(review.value) > Number(act.value)) review.value = act.value;
  curve.shown = Number(act.value);
  update();
});
review.addEventListener("input", () => {
  if (Number(review.value) > Number(act.value)) review.value = act.value;
  update();
});
back.addEventListener("click", () => {
  act.value = review.value = curve.shown = curve.start;
  update();
  act.focus();
});
curve.shown = curve.start;
drawn.finally(() => {
  act.disabled = review.disabled = false;
  update();
});
