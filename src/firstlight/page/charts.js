// Functions shared by all charts, and the learning curves. A chart is drawn when it becomes visible, and drawn again
// when the color scheme changes.

const DASHES = ["solid", "dash", "dot", "dashdot"];
const details = new Map();
// ID of a chart -> function that draws it. Charts in `stale` are drawn when they become visible.
const charts = new Map();
const stale = new Set();
const visible = new Set();

/** Return curves and evaluation of a run, parsed on first use; empty while the page is still loading. */
function getDetails(run) {
  const element = byId(`run-${runs.indexOf(run)}`);
  if (!element) return { curves: [], epochs: [], remarks: [], missing: {} };
  if (!details.has(run)) details.set(run, JSON.parse(element.textContent));
  return details.get(run);
}

const getColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Escape text for Plotly, which interprets some HTML tags in its labels. */
function escapeMarkup(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** Truncate the label of a tick. */
const truncate = (text, maxLength = 18) => (text.length > maxLength ? `${text.slice(0, maxLength - 1)}…` : text);

/** Return the label of a run in charts. If its name is a number, the overrides that vary are added. */
function getLabel(run) {
  const overrides = report.hyperparameters.filter((key) => key in run.overrides).map((key) => `${key}=${run.overrides[key]}`);
  return /(^|\/)\d+$/.test(run.name) && overrides.length ? `${run.name}: ${overrides.join(", ")}` : run.name;
}

function makeAxis(title, options = {}) {
  const line = getColor("line");
  return { title: { text: escapeMarkup(title), standoff: 8 }, gridcolor: line, zerolinecolor: line, linecolor: line,
    automargin: true, ...options };
}

function drawPlot(id, traces, layout) {
  const shared = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    margin: { l: 48, r: 12, t: 30, b: 44 },
    font: { color: getColor("text"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: getColor("raised"), bordercolor: getColor("line"), font: { color: getColor("text") }, namelength: -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: getColor("muted"), activecolor: getColor("accent") },
  };
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  return Plotly.react(id, traces, { ...shared, ...layout }, options);
}

/** Draw these charts now if they are visible, else when they become visible. */
function redraw(...ids) {
  for (const id of ids.filter((id) => charts.has(id))) {
    stale.add(id);
    if (visible.has(id)) drawIfStale(id);
  }
}

function drawIfStale(id) {
  if (typeof Plotly === "undefined" || !stale.has(id) || byId(id).closest("[hidden]")) return;
  stale.delete(id);
  charts.get(id)();
}

const redrawAll = () => redraw(...charts.keys());

function observeCharts() {
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target.id);
      else visible.delete(target.id);
      if (isIntersecting) drawIfStale(target.id);
    }
  }, { rootMargin: "300px" });
  for (const id of charts.keys()) observer.observe(byId(id));
  // The details of a run that was selected while the page was loading are available now.
  addEventListener("DOMContentLoaded", () => {
    if (state.run && !details.has(state.run)) showRun(state.run);
    if ([...state.selected.keys()].some((run) => !details.has(run))) redraw("curves-chart");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => [...stale].forEach(drawIfStale));
}

function fillSelect(select, values, selected, format = (value) => value) {
  select.replaceChildren(...values.map((value) => createElement("option", { value, textContent: format(value) })));
  select.value = selected;
}

function drawLegend(id, entries) {
  byId(id).replaceChildren(...entries.map(({ color, text }) => createElement("li", {},
    createElement("span", { className: `swatch c${color % 8}` }), createElement("span", {}, text))));
}

function buildCurves() {
  const names = new Set(runs.flatMap((run) => run.curve_metrics));
  if (!names.size) return;
  const sorted = [...names].sort(compareValues);
  fillSelect(byId("curves-metric"), sorted, ["train/loss", "val/accuracy", sorted[0]].find((name) => names.has(name)));
  for (const id of ["curves-metric", "curves-x-axis", "curves-log-scale"])
    byId(id).addEventListener("change", () => redraw("curves-chart"));
  charts.set("curves-chart", drawCurves);
  byId("curves").hidden = false;
}

/** Convert steps to fractional epochs, given the pairs [last step of an epoch, completed epochs]. */
function stepsToEpochs(steps, epochs) {
  const ends = [[-1, 0], ...epochs];
  let index = 1;
  return steps.map((step) => {
    while (index < ends.length - 1 && step > ends[index][0]) index += 1;
    const [[from, completed], [to, next]] = [ends[index - 1], ends[index]];
    return completed + ((step - from) / (to - from)) * (next - completed);
  });
}

function getCurve(run, name, xAxis) {
  const { curves, epochs } = getDetails(run);
  const group = curves.find(({ metrics }) => name in metrics);
  if (!group || (xAxis === "epoch" && !epochs.length)) return null;
  return { x: xAxis === "epoch" ? stepsToEpochs(group.steps, epochs) : group.steps, y: group.metrics[name] };
}

function drawCurves() {
  const [name, xAxis] = [byId("curves-metric").value, byId("curves-x-axis").value];
  const selected = [...state.selected].map(([run, color]) => ({ run, color, curve: getCurve(run, name, xAxis) }));
  const drawn = selected.filter(({ curve }) => curve);
  const traces = drawn.map(({ run, color, curve }) => ({
    type: "scatter", mode: curve.y.length > 30 ? "lines" : "lines+markers", ...curve, name: escapeMarkup(getLabel(run)),
    line: { color: getColor(`c${color % 8}`), dash: DASHES[Math.floor(color / 8) % 4], width: 2 }, marker: { size: 6 },
    hovertemplate: `${xAxis} %{x:.4~g}: %{y:.4~g}<extra>%{fullData.name}</extra>`,
  }));
  const type = byId("curves-log-scale").checked ? "log" : "linear";
  drawPlot("curves-chart", traces, { xaxis: makeAxis(xAxis), yaxis: makeAxis(name, { type }) });
  drawLegend("curves-legend", drawn.map(({ run, color }) => ({ color, text: getLabel(run) })));
  const missing = selected.length - drawn.length;
  byId("curves-remark").textContent = !selected.length ? "Select runs in the table to plot them."
    : missing ? `${missing} of ${selected.length} selected runs have no ${name}${xAxis === "epoch" ? " by epoch" : ""}.` : "";
}
