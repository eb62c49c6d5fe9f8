// The start of the page, and its update when runs have changed.

function showHeader() {
  const counts = new Map();
  for (const run of runs) counts.set(run.status, (counts.get(run.status) || 0) + 1);
  const statuses = [...counts].map(([status, count]) => `${count} ${status}`).join(", ");
  const summary = formatCount(runs.length, "run") + (statuses ? ` (${statuses})` : "");
  byId("summary").textContent = summary + (report.generated_at ? ` · generated ${formatTime(report.generated_at)}` : "");
  const links = [...document.querySelectorAll("main > section:not([hidden])")].map((section) =>
    createElement("a", { href: `#${section.id}`, textContent: section.querySelector("h2").textContent }));
  const contents = byId("contents");
  if (contents.children.length !== links.length || links.some((link, index) => !link.isEqualNode(contents.children[index])))
    contents.replaceChildren(...links);
}

/**
 * Show a report: once on the page of `make report`, and after each change on the page of `make live`. Runs whose values
 * have changed have `isChanged`. Text is shown first, and charts when Plotly, the largest part of the page, is parsed.
 */
function update(next) {
  const isNew = (key) => JSON.stringify(next[key]) !== JSON.stringify(report[key]);
  const changed = new Set(["columns", "seeds", "evaluations", "benchmarks"].filter(isNew));
  report = next;
  runs = report.runs;
  updateTable(changed.has("columns"));
  if (changed.has("seeds")) showSeeds();
  if (changed.has("evaluations")) showEvaluations();
  showFailures();
  if (isStarted) updateCharts(changed.has("benchmarks"));
}

function updateCharts(hasNewBenchmarks) {
  updateCurves();
  updateHyperparameters();
  if (hasNewBenchmarks) showBenchmarks();
  updateRun();
  updateDifferences();
  showHeader();
  redraw("hyperparameters-chart", "speed-chart");
  const selected = [...state.selected.keys()];
  const isDrawn = (run, index) => !run.isChanged && run === state.drawn?.[index];
  if (selected.length !== state.drawn?.length || !selected.every(isDrawn)) redraw("curves-chart");
  for (const run of runs) run.isChanged = false;
}

let isStarted = false;
buildTable();

function start() {
  buildCurves();
  buildHyperparameters();
  buildRun();
  buildDifferences();
  isStarted = true;
  if (runs.length) visible.add("curves-chart");
  observeCharts();
  updateCharts(true);
  redrawAll();
}
