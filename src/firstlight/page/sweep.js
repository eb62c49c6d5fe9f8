// Charts of a metric and of throughput over a hyperparameter, for the runs in the filtered table; charts of benchmarks.

const SPEED = "metrics/speed/samples_per_s";

function buildHyperparameters() {
  for (const id of ["hyperparameters-key", "hyperparameters-metric", "hyperparameters-color"])
    byId(id).addEventListener("change", () => redraw("hyperparameters-chart", "speed-chart"));
  charts.set("hyperparameters-chart", () => {
    const metric = byId("hyperparameters-metric").value;
    drawHyperparameter("hyperparameters-chart", `metrics/${metric}`, metric);
  });
  charts.set("speed-chart", () => drawHyperparameter("speed-chart", SPEED, "samples/s"));
}

/** Offer the hyperparameters and metrics of the current runs. */
function updateHyperparameters() {
  const keys = report.hyperparameters;
  const hasSpeed = runs.some((run) => typeof getValue(run, SPEED) === "number");
  const ranked = rankHyperparameters(keys);
  fillSelect(byId("hyperparameters-key"), keys, ranked[0] || keys[0]);
  fillSelect(byId("hyperparameters-metric"), report.metrics, report.metrics[0]);
  fillSelect(byId("hyperparameters-color"), ["", ...keys], ranked[1] || "", (key) => key || "none");
  byId("hyperparameters-chart").hidden = !report.metrics.length;
  byId("speed-chart").hidden = !hasSpeed;
  byId("hyperparameters").hidden = !keys.length || !(report.metrics.length || hasSpeed);
}

/** Return the varying hyperparameters of finished runs. The one with most values comes first, numbers before text. */
function rankHyperparameters(keys) {
  const finished = runs.filter((run) => run.status === "finished");
  const getValues = (key) => [...new Set(finished.filter((run) => key in run.overrides).map((run) => run.overrides[key]))];
  const getRank = (key) => getValues(key).length + (getValues(key).every(isNumeric) ? 0.5 : 0);
  return keys.filter((key) => key !== "seed" && getValues(key).length > 1)
    .sort((left, right) => getRank(right) - getRank(left));
}

const isNumeric = (text) => text.trim() !== "" && Number.isFinite(Number(text));
const getOverride = (run, key) => (key in run.overrides ? run.overrides[key] : "default");

/** Return the axis of a hyperparameter, and a function from a value to its position: numbers to scale, text evenly. */
function makeHyperparameterAxis(key, values) {
  const sorted = [...new Set(values)].sort(compareValues);
  const numbers = sorted.map(Number);
  if (sorted.every(isNumeric)) {
    const isWide = numbers[0] > 0 && numbers.at(-1) / numbers[0] >= 8;
    const ticks = sorted.length <= 12 ? { tickvals: numbers, ticktext: sorted.map(escapeMarkup) } : {};
    return { getPosition: Number, axis: makeAxis(key, { type: isWide ? "log" : "linear", ...ticks }) };
  }
  const axis = makeAxis(key, { type: "linear", tickvals: sorted.map((_, index) => index), zeroline: false,
    ticktext: sorted.map((value) => escapeMarkup(truncate(value))), range: [-0.5, sorted.length - 0.5] });
  return { getPosition: (value) => sorted.indexOf(value), axis };
}

function drawHyperparameter(id, valueKey, title) {
  const [key, colorKey] = [byId("hyperparameters-key").value, byId("hyperparameters-color").value];
  const filtered = filteredRuns().filter((run) => run.status !== "corrupt");
  const plotted = filtered.filter((run) => typeof getValue(run, valueKey) === "number");
  const { getPosition, axis } = makeHyperparameterAxis(key, plotted.map((run) => getOverride(run, key)));
  // From all filtered runs, so that a value has the same color in both charts.
  const series = [...new Set(filtered.map((run) => (colorKey ? getOverride(run, colorKey) : "")))].sort(compareValues);
  const traces = series.flatMap((value, index) => {
    const members = plotted.filter((run) => !colorKey || getOverride(run, colorKey) === value);
    const color = getColor(`c${index % 8}`);
    const points = { type: "scatter", mode: "markers", x: members.map((run) => getPosition(getOverride(run, key))),
      y: members.map((run) => getValue(run, valueKey)), text: members.map((run) => escapeMarkup(getLabel(run))),
      marker: { color, size: 9 }, hovertemplate: "%{text}: %{y:.4~g}<extra></extra>", name: escapeMarkup(value) };
    return [makeMeanLine(points, color), points];
  });
  drawPlot(id, traces, { title: { text: escapeMarkup(title), font: { size: 14 }, x: 0, xanchor: "left", xref: "paper" },
    xaxis: axis, yaxis: makeAxis("", { rangemode: id === "speed-chart" ? "tozero" : "normal" }),
    uirevision: [key, valueKey].join() });
  const entries = series.map((value, index) => ({ color: index, text: `${colorKey}=${value}` }));
  drawLegend("hyperparameters-legend", colorKey ? entries : []);
  byId("hyperparameters-remark").textContent = filtered.length
    ? "Each point is a run in the filtered table; lines connect the means." : "No runs match the filter.";
}

/** Return the line through the mean of the points at each position. */
function makeMeanLine({ x, y }, color) {
  const positions = [...new Set(x)].sort((left, right) => left - right);
  const means = positions.map((position) => {
    const values = y.filter((_, index) => x[index] === position);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  });
  return { type: "scatter", mode: "lines", x: positions, y: means, hoverinfo: "skip", line: { color, width: 1.5 } };
}

function showBenchmarks() {
  byId("benchmarks-list").replaceChildren();
  report.benchmarks.forEach((benchmark, index) => {
    const id = `benchmark-${index}`;
    const children = [createElement("h3", {}, benchmark.directory)];
    if (benchmark.remark) children.push(createElement("p", {}, benchmark.remark));
    else children.push(createElement("div", { id, className: "chart" }),
      createElement("ul", { id: `${id}-legend`, className: "legend" }));
    children.push(...benchmark.caption.map((line) => createElement("p", { className: "muted" }, line)));
    byId("benchmarks-list").append(...children);
    if (benchmark.remark) return;
    charts.set(id, () => drawBenchmark(id, benchmark));
    observer.observe(byId(id));
  });
  byId("benchmarks").hidden = !report.benchmarks.length;
}

function drawBenchmark(id, { models, bars }) {
  const labels = Object.keys(bars);
  const formatSpeedup = (value) => (value === null ? "" : value >= 10 ? `${value.toFixed(0)}x` : `${value.toFixed(1)}x`);
  const traces = labels.map((label, index) => ({ type: "bar", name: escapeMarkup(label), x: models.map((_, position) => position),
    y: bars[label], text: bars[label].map(formatSpeedup), textposition: "outside", cliponaxis: false,
    marker: { color: getColor(`c${index % 8}`) }, hovertemplate: "%{y:.1f}x<extra>%{fullData.name}</extra>" }));
  const ticktext = models.map((name) => escapeMarkup(name).replace(", batch size ", "<br>batch size<br>"));
  drawPlot(id, traces, { barmode: "group", bargap: 0.25, yaxis: makeAxis("speed-up over the CPU"),
    xaxis: makeAxis("", { tickangle: 0, tickvals: models.map((_, index) => index), ticktext }) });
  drawLegend(`${id}-legend`, labels.map((text, color) => ({ color, text })));
}
