const axis = {labelColor: "var(--muted)", titleColor: "var(--muted)", gridColor: "var(--rule)", domainColor: "var(--rule)", tickColor: "var(--rule)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 300};
const config = {background: null, font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", view: {stroke: null}, axis, legend: {labelColor: "var(--ink)", orient: "top", labelFontSize: 12, offset: 4}, text: {fontSize: 12}};
const views = {}, turns = {};
const draw = (data, width) => {
  const before = turns[data.dataset.chart] ?? Promise.resolve();
  return (turns[data.dataset.chart] = before.then(() => drawNow(data, width)));
};
const drawNow = async (data, width) => {
  const name = data.dataset.chart, spec = JSON.parse(data.textContent);
  const {view} = await vegaEmbed("#" + name, width ? {...spec, width} : spec, {mode: "vega-lite", actions: false, renderer: "svg", ast: true, config});
  views[name] = view;
};
const charts = [...document.querySelectorAll("script[data-chart]")];
const folded = (data) => data.closest("details:not([open])");
const drawn = Promise.all(charts.filter((data) => !folded(data)).map((data) => draw(data)));
// What is folded away has no width to fill: it is drawn once for paper, and again when it opens.
const wide = (data) => data.closest("section").clientWidth - 150;
const hidden = charts.filter(folded);
hidden.forEach((data) => folded(data).addEventListener("toggle", () => draw(data), {once: true}));
drawn.then(() => {
  document.documentElement.dataset.drawn = "yes";
  return Promise.all(hidden.filter(folded).map((data) => draw(data, wide(data))));
});
// Paper cannot unfold anything.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
