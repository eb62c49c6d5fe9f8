// One run: facts, confusion matrix, classes and samples; then the failures, and the start of the page.

function buildRun() {
  if (!runs.length) return;
  const select = byId("run-name");
  fill(select, runs.map((_, index) => index), 0, (index) => `${labelOf(runs[index])} (${runs[index].status})`);
  select.addEventListener("change", () => showRun(runs[Number(select.value)]));
  drawers.set("matrix-chart", drawMatrix);
  byId("run").hidden = false;
  showRun(BEST[0] || runs[0]);
}

function showRun(run, goThere = false) {
  state.run = run;
  byId("run-name").value = String(runs.indexOf(run));
  const { missing, remarks, classes, matrix, samples, first_batch: batch } = detailOf(run);
  const facts = { folder: run.folder, status: run.status + (run.reason ? `: ${run.reason}` : ""), ...run.about };
  byId("run-facts").replaceChildren(...Object.entries(facts).flatMap(([name, text]) =>
    [make("dt", {}, name), make("dd", {}, text)]));
  byId("run-remarks").replaceChildren(...remarks.map((text) => make("li", {}, text)));
  byId("matrix-remark").textContent = missing.matrix || (matrix ? "" : "There are too many classes to draw them.");
  byId("matrix-chart").hidden = !matrix;
  showClasses(classes || []);
  showSamples(samples || [], missing.samples);
  byId("first-batch").hidden = !batch;
  if (batch) byId("first-batch-picture").src = batch;
  redraw("matrix-chart");
  if (goThere) {
    byId("run").scrollIntoView();
    byId("run-name").focus({ preventScroll: true });
  }
}

function showClasses(classes) {
  const names = ["precision", "recall", "f1", "samples"];
  const head = make("tr", {}, make("th", { scope: "col" }, "class"),
    ...names.map((name) => make("th", { scope: "col", className: "right" }, name)));
  const rows = classes.map((each) => make("tr", {}, make("td", {}, each.name), ...names.map((name) =>
    make("td", { className: "right" }, name === "samples" ? String(each[name]) : each[name].toFixed(3)))));
  byId("classes").replaceChildren(...(rows.length ? [make("thead", {}, head), make("tbody", {}, ...rows)] : []));
}

function showSamples(samples, missing) {
  const mistakes = samples.filter((each) => each.true !== each.predicted).length;
  byId("samples-remark").textContent = missing || (samples.length
    ? `${mistakes} mistakes, the most confident first; then what was right by the least margin.` : "No sample was kept.");
  byId("samples").className = samples.some((each) => each.picture) ? "" : "texts";
  byId("samples").replaceChildren(...samples.map(sampleCard));
}

function sampleCard(sample) {
  const isWrong = sample.true !== sample.predicted;
  const chance = typeof sample.probability === "number" ? `${(100 * sample.probability).toFixed(1)} %` : String(sample.probability);
  const card = make("figure", { className: isWrong ? "wrong" : "right-answer" });
  if (sample.picture) card.append(make("img", { src: sample.picture, alt: `Sample ${sample.id}`, loading: "lazy" }));
  card.append(make("p", { className: "verdict" }, isWrong ? `wrong: ${sample.predicted}` : `right: ${sample.predicted}`),
    make("p", {}, isWrong ? `is ${sample.true}` : ""), make("p", { className: "quiet" }, `${chance}, id ${sample.id}`));
  if (sample.text) card.append(make("p", { className: "words" }, sample.text));
  return card;
}

function drawMatrix() {
  const { matrix, classes } = detailOf(state.run);
  if (!matrix) return;
  const names = classes.map((each) => each.name);
  const totals = matrix.map((row) => row.reduce((sum, count) => sum + count, 0));
  const width = byId("matrix-chart").clientWidth;
  const side = Math.min(width, 110 + 46 * names.length, 720);
  const isReadable = side / names.length > 26;
  const places = names.map((_, index) => index);
  const letters = width < 500 ? 8 : 16;
  const marks = names.length <= 40 ? { tickvals: places, ticktext: names.map((name) => plain(short(name, letters))) } : {};
  const trace = {
    type: "heatmap", x: places, y: places, xgap: 1, ygap: 1, zmin: 0, zmax: 1, showscale: false,
    // Colour is the share of the true class, so that rare classes are seen too.
    z: matrix.map((row, index) => row.map((count) => count / Math.max(totals[index], 1))),
    text: matrix.map((row) => row.map((count) => (count ? String(count) : ""))),
    texttemplate: isReadable ? "%{text}" : "",
    customdata: matrix.map((row, index) => row.map((count, other) =>
      `true ${plain(names[index])}, predicted ${plain(names[other])}: ${count}`)),
    hovertemplate: "%{customdata}<extra></extra>",
    colorscale: [[0, colour("raised")], [1, colour("cell")]],
  };
  plot("matrix-chart", [trace], {
    height: side, margin: { l: 40, r: 8, t: 28, b: 40 },
    xaxis: axis("predicted", { ...marks, showgrid: false, zeroline: false, tickangle: names.some((name) => name.length > 3) ? -45 : 0 }),
    yaxis: axis("true", { ...marks, showgrid: false, zeroline: false, autorange: "reversed" }),
  });
}

function buildFailures() {
  const failed = runs.filter((run) => ENDED_BADLY.includes(run.status));
  byId("failures-list").append(...failed.map((run, index) => {
    const head = make("summary", {}, make("strong", { className: "state" }, run.status), ` ${labelOf(run)}: ${run.reason}`);
    const log = run.log ? make("pre", { tabIndex: 0 }, run.log.join("\n")) : make("p", { className: "quiet" }, "It left no output.log.");
    const part = make("details", { className: "bad", open: index < 3 }, head, log);
    // What broke stands at the end of a log.
    part.addEventListener("toggle", () => { log.scrollTop = log.scrollHeight; });
    return part;
  }));
  byId("failures").hidden = !failed.length;
}

function buildHeader() {
  const counts = new Map();
  for (const run of runs) counts.set(run.status, (counts.get(run.status) || 0) + 1);
  const told = [...counts].map(([status, number]) => `${number} ${status}`).join(", ");
  byId("summary").textContent = `${runs.length} runs${told ? ` (${told})` : ""}, as of ${clock(report.made)}`;
  byId("contents").append(...[...document.querySelectorAll("main > section:not([hidden])")].map((section) =>
    make("a", { href: `#${section.id}`, textContent: section.querySelector("h2").textContent })));
}

// Text first; charts follow when their library, the largest part of the page, has been read.
byId("runs").hidden = !runs.length;
if (runs.length) buildTable();
buildSeeds();
buildFailures();

function start() {
  buildCurves();
  buildSettings();
  buildBenchmarks();
  buildRun();
  buildHeader();
  if (drawers.has("curves-chart")) seen.add("curves-chart");
  watchCharts();
  redrawAll();
}
