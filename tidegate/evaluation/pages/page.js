const axis = {labelColor: "var(--muted)", titleColor: "var(--muted)", gridColor: "var(--rule)", domainColor: "var(--rule)", tickColor: "var(--rule)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 220};
const config = {background: null, font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", view: {stroke: null}, axis, legend: {labelColor: "var(--ink)", orient: "top", labelFontSize: 12, offset: 4}, text: {fontSize: 12}};
const views = {};
const draw = async (data) => {
  const name = data.dataset.chart;
  const {view} = await vegaEmbed("#" + name, JSON.parse(data.textContent), {mode: "vega-lite", actions: false, renderer: "svg", ast: true, config});
  views[name] = view;
};
// A closed <details> has no width to fill; its chart is drawn when it opens.
const folded = (data) => data.closest("details:not([open])");
const charts = [...document.querySelectorAll("script[data-chart]")];
charts.filter(folded).forEach((data) => folded(data).addEventListener("toggle", () => draw(data), {once: true}));
const drawn = Promise.all(charts.filter((data) => !folded(data)).map(draw));
drawn.then(() => { document.documentElement.dataset.drawn = "yes"; });
// Paper cannot unfold anything.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
