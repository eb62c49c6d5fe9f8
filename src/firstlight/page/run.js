// Details of one run: summary, log, test results and samples. Also the failed runs.

function buildRun() {
  const select = byId("run-name");
  select.addEventListener("change", () => {
    showRun(runs.find((run) => String(run.id) === select.value));
  });
  byId("run-results").addEventListener("change", () => {
    state.evaluation = byId("run-results").value;
    showResults();
  });
  byId("run-log-section").addEventListener("toggle", () => scrollToEnd(byId("run-log")));
  charts.set("matrix-chart", drawMatrix);
  charts.set("scatter-chart", drawScatter);
}

/** Offer the current runs, and show the one that was shown, or else the first selected one. */
function updateRun() {
  byId("run").hidden = !runs.length;
  if (!runs.length) return;
  const names = new Map(runs.map((run) => [String(run.id), `${getLabel(run)} (${run.status})`]));
  const initial = runs.includes(state.run) ? state.run : getDefaultSelection()[0] || runs[0];
  fillSelect(byId("run-name"), [...names.keys()], String(initial.id), (id) => names.get(id));
  if (state.run !== initial || initial.isChanged) showRun(initial);
}

function showRun(run) {
  if (state.run !== run) byId("run-results").replaceChildren();
  const isNew = state.run !== run;
  state.run = run;
  byId("run-name").value = String(run.id);
  const { remarks, log, first_batch: firstBatch } = getDetails(run);
  const status = run.status + (run.reason ? `: ${run.reason}` : "");
  const left = typeof run.left_s === "number" ? { "time left": formatDuration(run.left_s) } : {};
  const fields = { "run directory": run.run_dir, status, ...left, ...run.summary };
  byId("run-summary").replaceChildren(...Object.entries(fields).flatMap(([name, text]) =>
    [createElement("dt", {}, name), createElement("dd", {}, text)]));
  byId("run-remarks").replaceChildren(...remarks.map((text) => createElement("li", {}, text)));
  showLog(log, isNew);
  byId("first-batch").hidden = !firstBatch;
  if (firstBatch && byId("first-batch-image").src !== firstBatch) byId("first-batch-image").src = firstBatch;
  showProvenance(run);
  fillResults(run);
  if (isNew || state.results !== getResults()) showResults();
}

/** Show the details of a run that was clicked. */
function openRun(run) {
  showRun(run);
  byId("run").scrollIntoView();
  byId("run-name").focus({ preventScroll: true });
}

/** Show the last lines of the log, and keep its end visible unless the reader has scrolled up. */
function showLog(lines, isNew) {
  const log = byId("run-log");
  const isAtEnd = isNew || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  const text = (lines || []).join("\n");
  if (log.textContent !== text) log.textContent = text;
  byId("run-log-section").hidden = !text;
  if (isNew) byId("run-log-section").open = state.run.status === "running";
  if (isAtEnd) scrollToEnd(log);
}

function scrollToEnd(element) {
  element.scrollTop = element.scrollHeight;
}

/** Show the test results of the run, or of the selected evaluation. */
function showResults() {
  state.results = getResults();
  const { missing, classes, matrix, samples } = state.results;
  showEvaluation();
  byId("matrix-remark").textContent = missing.matrix || (matrix ? "" : "Too many classes to plot.");
  byId("matrix-chart").hidden = !matrix;
  showTable("classes", "class", ["precision", "recall", "f1", "support"], classes || []);
  showOtherTasks(getResults());
  showSamples(samples || [], missing.samples);
  redraw("matrix-chart", "scatter-chart");
}

/** Show the results of runs with several labels per sample, or with a number. Running runs have no results yet. */
function showOtherTasks({ missing, matrix, classes, samples, labels, scatter }) {
  const isCorrupt = (name) => missing[name]?.endsWith("is corrupt.");
  const isOther = Boolean(labels || scatter || isCorrupt("labels") || isCorrupt("scatter")) || state.run.status === "running";
  byId("matrix-section").hidden = isOther && !matrix && !classes;
  byId("samples-section").hidden = isOther && !samples;
  byId("labels-section").hidden = !labels && !isCorrupt("labels");
  byId("labels-remark").textContent = isCorrupt("labels") ? missing.labels : "";
  showTable("labels", "label", ["f1", "average_precision", "support"], labels || []);
  byId("scatter-section").hidden = !scatter && !isCorrupt("scatter");
  byId("scatter-chart").hidden = !scatter;
  byId("scatter-remark").textContent = isCorrupt("scatter") ? missing.scatter
    : scatter ? `${formatCount(scatter.true.length, "test sample")}. Points on the line are predicted exactly.` : "";
}

/** Show a row of metrics for each class or label. */
function showTable(id, first, names, items) {
  const header = createElement("tr", {}, createElement("th", { scope: "col" }, first),
    ...names.map((name) => createElement("th", { scope: "col", className: "right" }, name.replaceAll("_", " "))));
  const format = (value, name) => (value === null ? "" : name === "support" ? String(value) : value.toFixed(3));
  const rows = items.map((item) => createElement("tr", {}, createElement("td", {}, item.name),
    ...names.map((name) => createElement("td", { className: "right" }, format(item[name], name)))));
  const parts = [createElement("thead", {}, header), createElement("tbody", {}, ...rows)];
  byId(id).replaceChildren(...(rows.length ? parts : []));
}

function showSamples(samples, missing) {
  const count = samples.filter((sample) => sample.true !== sample.predicted).length;
  byId("samples-remark").textContent = missing || (samples.length
    ? `${formatCount(count, "misclassified sample")}, most confident first, followed by the least confident correct ones.`
    : "No samples were saved.");
  byId("samples").className = samples.some((sample) => sample.image) ? "" : "texts";
  byId("samples").replaceChildren(...samples.map(buildSampleCard));
}

function buildSampleCard(sample) {
  const isWrong = sample.true !== sample.predicted;
  const { probability } = sample;
  const confidence = typeof probability === "number" ? `${(100 * probability).toFixed(1)} %` : String(probability);
  const card = createElement("figure", { className: isWrong ? "wrong" : "correct" });
  if (sample.image) card.append(createElement("img", { src: sample.image, alt: `Sample ${sample.id}`, loading: "lazy" }));
  const verdict = isWrong ? `predicted ${sample.predicted} · true ${sample.true}` : `correct: ${sample.predicted}`;
  card.append(createElement("p", { className: "verdict" }, verdict),
    createElement("p", { className: "muted" }, `${confidence}, ID ${sample.id}`));
  if (sample.text) card.append(createElement("p", { className: "sample-text" }, sample.text));
  return card;
}

function drawMatrix() {
  const { matrix, classes } = getResults();
  if (!matrix) return;
  const names = classes.map(({ name }) => name);
  const totals = matrix.map((row) => row.reduce((sum, count) => sum + count, 0));
  const width = byId("matrix-chart").clientWidth;
  const side = Math.min(width, 110 + 46 * names.length, 720);
  const isReadable = side / names.length > 26;
  const indices = names.map((_, index) => index);
  const maxLength = width < 500 ? 8 : 16;
  const ticktext = names.map((name) => escapeMarkup(truncate(name, maxLength)));
  const ticks = names.length <= 40 ? { tickvals: indices, ticktext } : {};
  const trace = {
    type: "heatmap", x: indices, y: indices, xgap: 1, ygap: 1, zmin: 0, zmax: 1, showscale: false,
    // The color is the fraction of the true class, so that rare classes are visible.
    z: matrix.map((row, index) => row.map((count) => count / Math.max(totals[index], 1))),
    text: matrix.map((row) => row.map((count) => (count ? String(count) : ""))),
    texttemplate: isReadable ? "%{text}" : "",
    customdata: matrix.map((row, index) => row.map((count, other) =>
      `true ${escapeMarkup(names[index])}, predicted ${escapeMarkup(names[other])}: ${count}`)),
    hovertemplate: "%{customdata}<extra></extra>",
    colorscale: [[0, getColor("raised")], [1, getColor("cell")]],
  };
  const tickangle = names.some((name) => name.length > 3) ? -45 : 0;
  drawPlot("matrix-chart", [trace], {
    height: side, margin: { l: 40, r: 8, t: 28, b: 40 },
    xaxis: makeAxis("predicted", { ...ticks, showgrid: false, zeroline: false, tickangle }),
    yaxis: makeAxis("true", { ...ticks, showgrid: false, zeroline: false, autorange: "reversed" }),
  });
}

function drawScatter() {
  const { scatter } = getResults();
  if (!scatter) return;
  const { true: actual, predicted, target_name: name } = scatter;
  const bounds = [actual, predicted].flat().reduce(([low, high], value) =>
    [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const side = Math.min(byId("scatter-chart").clientWidth, 520);
  const diagonal = { type: "scatter", mode: "lines", x: bounds, y: bounds, hoverinfo: "skip",
    line: { color: getColor("muted"), width: 1 } };
  const points = { type: "scatter", mode: "markers", x: actual, y: predicted,
    marker: { color: getColor("c0"), size: 6, opacity: 0.6 },
    hovertemplate: "true %{x:.4~g}, predicted %{y:.4~g}<extra></extra>" };
  drawPlot("scatter-chart", [diagonal, points], {
    height: side, width: side, xaxis: makeAxis(`true ${name}`), yaxis: makeAxis(`predicted ${name}`),
  });
}

/** List the runs that did not finish. The items of unchanged runs are kept, so that they stay open or closed. */
function showFailures() {
  const failed = runs.filter((run) => FAILURE_STATUSES.includes(run.status));
  const items = failed.map((run, index) => {
    const key = JSON.stringify([run.status, run.reason, run.log]);
    if (run.failure?.key !== key) run.failure = { key, item: buildFailure(run, run.failure?.item.open ?? index < 3) };
    return run.failure.item;
  });
  const list = byId("failures-list");
  if (items.some((item, index) => list.children[index] !== item) || items.length !== list.children.length)
    list.replaceChildren(...items);
  byId("failures").hidden = !failed.length;
}

function buildFailure(run, open) {
  const status = createElement("strong", { className: "status" }, run.status);
  const header = createElement("summary", {}, status, ` ${getLabel(run)}: ${run.reason}`);
  const log = run.log ? createElement("pre", { tabIndex: 0 }, run.log.join("\n"))
    : createElement("p", { className: "muted" }, "No output.log found.");
  const item = createElement("details", { className: "failed", open }, header, log);
  // The error is at the end of the log.
  item.addEventListener("toggle", () => scrollToEnd(log));
  return item;
}
