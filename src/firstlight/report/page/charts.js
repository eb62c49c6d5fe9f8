// What charts share, and the learning curves: drawn when they come into view, again when the colours change.

const DASHES = ["solid", "dash", "dot", "dashdot"];
const details = new Map();
// A chart's id -> what draws it; `stale` are those to be drawn when they are seen.
const drawers = new Map();
const stale = new Set();
const seen = new Set();

/** Return what is read only when a run is chosen: its curves and its evaluation; nothing while the page still loads. */
function detailOf(run) {
  const element = byId(`run-${runs.indexOf(run)}`);
  if (!element) return { curves: [], epochs: [], remarks: [], missing: {} };
  if (!details.has(run)) details.set(run, JSON.parse(element.textContent));
  return details.get(run);
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Return text for plotly, which takes some markup for its own: what is marked here is shown as it is. */
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** Shorten text that stands at an axis. */
const short = (text, letters = 18) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);

/** Return what tells a run from the others: a bare number is no name. */
function labelOf(run) {
  const settings = report.parameters.filter((name) => name in run.overrides).map((name) => `${name}=${run.overrides[name]}`);
  return /(^|\/)\d+$/.test(run.name) && settings.length ? `${run.name}: ${settings.join(", ")}` : run.name;
}

function axis(title, more = {}) {
  const line = colour("line");
  return { title: { text: plain(title), standoff: 8 }, gridcolor: line, zerolinecolor: line, linecolor: line,
    automargin: true, ...more };
}

function plot(id, traces, layout) {
  const shared = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    margin: { l: 48, r: 12, t: 30, b: 44 },
    font: { color: colour("text"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("text") }, namelength: -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") },
  };
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  return Plotly.react(id, traces, { ...shared, ...layout }, options);
}

/** Draw these charts now if they are in view, else when they come into view. */
function redraw(...ids) {
  for (const id of ids.filter((each) => drawers.has(each))) {
    stale.add(id);
    if (seen.has(id)) drawNow(id);
  }
}

function drawNow(id) {
  if (typeof Plotly === "undefined" || !stale.has(id) || byId(id).closest("[hidden]")) return;
  stale.delete(id);
  drawers.get(id)();
}

/** Draw whatever has a chart again, as after a change from light to dark. */
const redrawAll = () => redraw(...drawers.keys());

function watchCharts() {
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) seen.add(target.id);
      else seen.delete(target.id);
      if (isIntersecting) drawNow(target.id);
    }
  }, { rootMargin: "300px" });
  for (const id of drawers.keys()) watcher.observe(byId(id));
  // A run that was chosen while the page was loading has its data now.
  addEventListener("DOMContentLoaded", () => {
    if (state.run && !details.has(state.run)) showRun(state.run);
    if ([...state.chosen.keys()].some((run) => !details.has(run))) redraw("curves-chart");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => [...stale].forEach(drawNow));
}

function fill(select, values, chosen, textOf = (value) => value) {
  select.replaceChildren(...values.map((value) => make("option", { value, textContent: textOf(value) })));
  select.value = chosen;
}

function legend(id, entries) {
  byId(id).replaceChildren(...entries.map(({ place, text }) =>
    make("li", {}, make("span", { className: `swatch c${place % 8}` }), make("span", {}, text))));
}

function buildCurves() {
  const names = new Set(runs.flatMap((run) => run.metrics));
  if (!names.size) return;
  const sorted = [...names].sort(order);
  fill(byId("curves-figure"), sorted, ["train/loss", "val/accuracy", sorted[0]].find((name) => names.has(name)));
  for (const id of ["curves-figure", "curves-over", "curves-log"])
    byId(id).addEventListener("change", () => redraw("curves-chart"));
  drawers.set("curves-chart", drawCurves);
  byId("curves").hidden = false;
}

/** Return at which part of an epoch each step was done, by the steps at which epochs ended. */
function epochsAt(steps, epochs) {
  const ends = [[-1, 0], ...epochs];
  let place = 1;
  return steps.map((step) => {
    while (place < ends.length - 1 && step > ends[place][0]) place += 1;
    const [[from, done], [to, next]] = [ends[place - 1], ends[place]];
    return done + ((step - from) / (to - from)) * (next - done);
  });
}

function curveOf(run, name, over) {
  const { curves, epochs } = detailOf(run);
  const group = curves.find((each) => name in each.metrics);
  if (!group || (over === "epoch" && !epochs.length)) return null;
  return { x: over === "epoch" ? epochsAt(group.steps, epochs) : group.steps, y: group.metrics[name] };
}

function drawCurves() {
  const [name, over] = [byId("curves-figure").value, byId("curves-over").value];
  const chosen = [...state.chosen].map(([run, place]) => ({ run, place, curve: curveOf(run, name, over) }));
  const drawn = chosen.filter((each) => each.curve);
  const traces = drawn.map(({ run, place, curve }) => ({
    type: "scatter", mode: curve.y.length > 30 ? "lines" : "lines+markers", ...curve, name: plain(labelOf(run)),
    line: { color: colour(`c${place % 8}`), dash: DASHES[Math.floor(place / 8) % 4], width: 2 }, marker: { size: 6 },
    hovertemplate: `${over} %{x:.4~g}: %{y:.4~g}<extra>%{fullData.name}</extra>`,
  }));
  const type = byId("curves-log").checked ? "log" : "linear";
  plot("curves-chart", traces, { xaxis: axis(over), yaxis: axis(name, { type }) });
  legend("curves-legend", drawn.map(({ run, place }) => ({ place, text: labelOf(run) })));
  const without = chosen.length - drawn.length;
  byId("curves-remark").textContent = !chosen.length ? "No run is chosen: tick some in the table."
    : without ? `${without} of ${chosen.length} chosen runs have no ${name} over ${over}s.` : "";
}
