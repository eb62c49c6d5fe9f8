// Evaluations after training: the table of all of them, and the selection of the results that "Run details" shows.

/** Return the test results of the run that is shown, or of one of its evaluations. */
function getResults() {
  const details = getDetails(state.run);
  return (details.evaluations || []).find(({ directory }) => directory === state.evaluation) || details;
}

const formatInterval = (ends) => (ends ? ` (95 %: ${ends.map(formatNumber).join(" to ")})` : "");

const formatMetrics = (metrics, intervals) => Object.entries(metrics)
  .map(([name, value]) => `${name} ${formatNumber(value)}${formatInterval((intervals || {})[name])}`).join(", ");

/** Fill the list of results of a run. */
function fillResults(run) {
  const evaluations = new Map((getDetails(run).evaluations || []).map((item) => [item.directory, item]));
  const describe = ({ command, started, split, data }) =>
    `${command} ${formatTime(started)}${split ? `, split ${split}` : ""}, ${data}`;
  fillSelect(byId("run-results"), ["", ...evaluations.keys()], "", (directory) =>
    (directory ? describe(evaluations.get(directory)) : "test of the training run"));
  state.evaluation = byId("run-results").value;
  byId("run-results-label").hidden = !evaluations.size;
}

/** Describe the selected evaluation: the results below are not those of the training run. */
function showEvaluation() {
  const { command, num_samples: numSamples, directory, metrics, intervals } = getResults();
  const count = typeof numSamples === "number" ? `${formatCount(numSamples, "sample")}. ` : "";
  byId("run-results-remark").textContent = command ? `${count}${formatMetrics(metrics, intervals)} (${directory})` : "";
}

function showEvaluations() {
  const { evaluations } = report;
  const names = ["run", "command", "time", "split", "num_samples", "data", "metrics", "checkpoint", "directory"];
  const header = createElement("tr", {}, ...names.map((name) => createElement("th", { scope: "col" }, name.replace("num_", ""))));
  const rows = evaluations.map(({ started, metrics, intervals, ...row }) => createElement("tr", {}, ...names.map((name) => {
    const text = name === "time" ? formatTime(started) : name === "metrics" ? formatMetrics(metrics, intervals) : row[name];
    return createElement("td", {}, text === null ? "–" : String(text));
  })));
  byId("evaluations-table").replaceChildren(createElement("thead", {}, header), createElement("tbody", {}, ...rows));
  byId("evaluations").hidden = !evaluations.length;
}
