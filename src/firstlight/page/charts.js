// Functions shared by all charts, and the learning curves. A chart is drawn when it becomes visible, and drawn again
// when the color scheme changes.

const DASHES = ["solid", "dash", "dot", "dashdot"];
const details = new Map();
// ID of a chart -> function that draws it. Charts in `stale` are drawn when they become visible.
const charts = new Map();
const stale = new Set();
const visible = new Set();
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.id);
    else visible.delete(target.id);
    if (isIntersecting) drawIfStale(target.id);
  }
}, { rootMargin: "300px" });

const NO_DETAILS = { curves: [], epochs: [], remarks: [], missing: {} };
const ALL_PARTS = ["curves", "results", "log"];

/** Return curves, results and log of a run; empty or outdated while the page still loads them. */
function getDetails(run, parts = ALL_PARTS) {
  loadDetails(run, parts);
  return details.get(run) || NO_DETAILS;
}

/** Show the details of a run again after they were loaded. */
function showLoadedDetails(run) {
  if (state.selected.has(run)) redraw("curves-chart");
  if (state.run === run) showRun(run);
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
  for (const chart of document.querySelectorAll(".chart")) observer.observe(chart);
  // The details of a run that was selected while the page was loading are available now.
  addEventListener("DOMContentLoaded", () => {
    if (state.run && !details.has(state.run)) showRun(state.run);
    if ([...state.selected.keys()].some((run) => !details.has(run))) redraw("curves-chart");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => [...stale].forEach(drawIfStale));
}

/** Set the options of a list. The current value is kept if it is still an option; equal options are not replaced. */
function fillSelect(select, values, selected, format = (value) => value) {
  const options = values.map((value) => createElement("option", { value, textContent: format(value) }));
  const isEqual = options.length === select.options.length &&
    options.every(({ value, text }, index) => value === select.options[index].value && text === select.options[index].text);
  if (isEqual) return;
  const current = options.some(({ value }) => value === select.value) ? select.value : selected;
  select.replaceChildren(...options);
  select.value = current;
}

function drawLegend(id, entries) {
  byId(id).replaceChildren(...entries.map(({ color, text }) => createElement("li", {},
    createElement("span", { className: `swatch c${color % 8}` }), createElement("span", {}, text))));
}

function buildCurves() {
  for (const id of ["curves-metric", "curves-x-axis", "curves-log-scale"])
    byId(id).addEventListener("change", () => redraw("curves-chart"));
  charts.set("curves-chart", drawCurves);
}

/** Offer the metrics of the current runs. */
function updateCurves() {
  const names = new Set(runs.flatMap((run) => run.curve_metrics));
  const sorted = [...names].sort(compareValues);
  fillSelect(byId("curves-metric"), sorted, ["train/loss", "val/accuracy", sorted[0]].find((name) => names.has(name)));
  byId("curves").hidden = !names.size;
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
  const { curves, epochs } = getDetails(run, ["curves"]);
  const group = curves.find(({ metrics }) => name in metrics);
  if (!group || (xAxis === "epoch" && !epochs.length)) return null;
  return { x: xAxis === "epoch" ? stepsToEpochs(group.steps, epochs) : group.steps, y: group.metrics[name] };
}

function drawCurves() {
  const [name, xAxis] = [byId("curves-metric").value, byId("curves-x-axis").value];
  const selected = [...state.selected].map(([run, color]) => ({ run, color, curve: getCurve(run, name, xAxis) }));
  const drawn = selected.filter(({ curve }) => curve);
  state.drawn = [...state.selected.keys()];
  const traces = drawn.map(({ run, color, curve }) => ({
    type: "scatter", mode: curve.y.length > 30 ? "lines" : "lines+markers", ...curve, name: escapeMarkup(getLabel(run)),
    line: { color: getColor(`c${color % 8}`), dash: DASHES[Math.floor(color / 8) % 4], width: 2 }, marker: { size: 6 },
    hovertemplate: `${xAxis} %{x:.4~g}: %{y:.4~g}<extra>%{fullData.name}</extra>`,
  }));
  const type = byId("curves-log-scale").checked ? "log" : "linear";
  // Zoom and pan stay while the curves grow.
  const uirevision = [name, xAxis, type].join();
  drawPlot("curves-chart", traces, { xaxis: makeAxis(xAxis), yaxis: makeAxis(name, { type }), uirevision });
  drawLegend("curves-legend", drawn.map(({ run, color }) => ({ color, text: getLabel(run) })));
  const missing = selected.length - drawn.length;
  byId("curves-remark").textContent = !selected.length ? "Select runs in the table to plot them."
    : missing ? `${missing} of ${selected.length} selected runs have no ${name}${xAxis === "epoch" ? " by epoch" : ""}.` : "";
}
