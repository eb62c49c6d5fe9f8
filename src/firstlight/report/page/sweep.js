// A setting against a figure and against throughput, of the runs that the table shows; and the benchmarks' bars.

const SPEED = "metrics/speed/samples_per_s";

function buildSettings() {
  const names = report.parameters;
  const hasSpeed = runs.some((run) => typeof valueOf(run, SPEED) === "number");
  if (!names.length || !(report.metrics.length || hasSpeed)) return;
  const ranked = rankedSettings(names);
  fill(byId("settings-name"), names, ranked[0] || names[0]);
  fill(byId("settings-figure"), report.metrics, report.metrics[0]);
  fill(byId("settings-colour"), ["", ...names], ranked[1] || "", (name) => name || "nothing");
  for (const id of ["settings-name", "settings-figure", "settings-colour"])
    byId(id).addEventListener("change", () => redraw("settings-chart", "speed-chart"));
  drawers.set("settings-chart", () => drawSetting("settings-chart", `metrics/${byId("settings-figure").value}`,
    byId("settings-figure").value));
  drawers.set("speed-chart", () => drawSetting("speed-chart", SPEED, "samples/s"));
  byId("settings-chart").hidden = !report.metrics.length;
  byId("speed-chart").hidden = !hasSpeed;
  byId("settings").hidden = false;
}

/** Return the settings of finished runs, first the one that a sweep is about: it takes most values, or numbers. */
function rankedSettings(names) {
  const finished = runs.filter((run) => run.status === "finished");
  const values = (name) => [...new Set(finished.filter((run) => name in run.overrides).map((run) => run.overrides[name]))];
  const rank = (name) => values(name).length + (values(name).every(isNumber) ? 0.5 : 0);
  return names.filter((name) => name !== "seed" && values(name).length > 1).sort((one, other) => rank(other) - rank(one));
}

const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));
const settingOf = (run, name) => (name in run.overrides ? run.overrides[name] : "default");

/** Return the axis of a setting, and where on it a value lies: numbers by size, other values side by side. */
function settingAxis(name, values) {
  const sorted = [...new Set(values)].sort(order);
  const numbers = sorted.map(Number);
  if (sorted.every(isNumber)) {
    const isWide = numbers[0] > 0 && numbers.at(-1) / numbers[0] >= 8;
    const ticks = sorted.length <= 12 ? { tickvals: numbers, ticktext: sorted.map(plain) } : {};
    return { place: Number, layout: axis(name, { type: isWide ? "log" : "linear", ...ticks }) };
  }
  const layout = axis(name, { type: "linear", tickvals: sorted.map((_, index) => index), zeroline: false,
    ticktext: sorted.map((value) => plain(short(value))), range: [-0.5, sorted.length - 0.5] });
  return { place: (value) => sorted.indexOf(value), layout };
}

function drawSetting(id, key, title) {
  const [name, split] = [byId("settings-name").value, byId("settings-colour").value];
  const shown = shownRuns().filter((run) => run.status !== "damaged");
  const able = shown.filter((run) => typeof valueOf(run, key) === "number");
  const { place, layout } = settingAxis(name, able.map((run) => settingOf(run, name)));
  // Of all that the table shows, so that both charts give a value the same colour.
  const series = [...new Set(shown.map((run) => (split ? settingOf(run, split) : "")))].sort(order);
  const traces = series.flatMap((each, index) => {
    const own = able.filter((run) => !split || settingOf(run, split) === each);
    const paint = colour(`c${index % 8}`);
    const points = { type: "scatter", mode: "markers", x: own.map((run) => place(settingOf(run, name))),
      y: own.map((run) => valueOf(run, key)), text: own.map((run) => plain(labelOf(run))), marker: { color: paint, size: 9 },
      hovertemplate: "%{text}: %{y:.4~g}<extra></extra>", name: plain(each) };
    return [meanLine(points, paint), points];
  });
  plot(id, traces, { title: { text: plain(title), font: { size: 14 }, x: 0, xanchor: "left", xref: "paper" },
    xaxis: layout, yaxis: axis("", { rangemode: id === "speed-chart" ? "tozero" : "normal" }) });
  legend("settings-legend", split ? series.map((each, index) => ({ place: index, text: `${split}=${each}` })) : []);
  byId("settings-remark").textContent = shown.length
    ? "Points are runs that the table shows, lines join the means." : "The table shows no run.";
}

/** Return the line that joins the means of the points at each place. */
function meanLine({ x, y }, paint) {
  const places = [...new Set(x)].sort((one, other) => one - other);
  const means = places.map((place) => {
    const here = y.filter((_, index) => x[index] === place);
    return here.reduce((sum, value) => sum + value, 0) / here.length;
  });
  return { type: "scatter", mode: "lines", x: places, y: means, hoverinfo: "skip", line: { color: paint, width: 1.5 } };
}

function buildBenchmarks() {
  report.benchmarks.forEach((each, index) => {
    const id = `benchmark-${index}`;
    const parts = [make("h3", {}, each.folder)];
    if (each.remark) parts.push(make("p", {}, each.remark));
    else parts.push(make("div", { id, className: "chart" }), make("ul", { id: `${id}-legend`, className: "legend" }));
    parts.push(...each.caption.map((line) => make("p", { className: "quiet" }, line)));
    byId("benchmarks-list").append(...parts);
    if (!each.remark) drawers.set(id, () => drawBenchmark(id, each));
  });
  byId("benchmarks").hidden = !report.benchmarks.length;
}

function drawBenchmark(id, { models, bars }) {
  const labels = Object.keys(bars);
  const times = (value) => (value === null ? "" : value >= 10 ? `${value.toFixed(0)}x` : `${value.toFixed(1)}x`);
  const traces = labels.map((label, index) => ({ type: "bar", name: plain(label), x: models.map((_, place) => place),
    y: bars[label], text: bars[label].map(times), textposition: "outside", cliponaxis: false,
    marker: { color: colour(`c${index % 8}`) }, hovertemplate: "%{y:.1f} times<extra>%{fullData.name}</extra>" }));
  plot(id, traces, { barmode: "group", bargap: 0.25, yaxis: axis("times faster than the CPU"),
    xaxis: axis("", { tickangle: 0, tickvals: models.map((_, place) => place), ticktext: models.map((name) => plain(name).replace(", batch size ", "<br>batch size<br>")) }) });
  legend(`${id}-legend`, labels.map((text, place) => ({ place, text })));
}
