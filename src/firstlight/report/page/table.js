// The table of runs: it is sorted, filtered, and tells which runs are chosen. Text reaches the page as text only.
"use strict";

const byId = (id) => document.getElementById(id);
const report = JSON.parse(byId("report").textContent);
const runs = report.runs;
const ENDED_BADLY = ["failed", "interrupted", "damaged"];
const BEST = runs.filter((run) => run.chosen);
const state = { key: "started", down: true, rows: [], chosen: new Map() };

/** Make an element with properties and children; a string becomes text. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return the value of a run that a key such as "metrics/test/loss" leads to, or null. */
function valueOf(run, key) {
  const [part, ...rest] = key.split("/");
  const value = rest.length ? run[part][rest.join("/")] : run[part];
  return value === undefined || value === "" ? null : value;
}

/** Return a number with four digits; what is no number is returned as text. */
function digits(value) {
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)) return value.toExponential(2);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function duration(seconds) {
  if (typeof seconds !== "number") return String(seconds);
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Return a time in ISO 8601 as the reader's clock shows it. */
function clock(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return String(text);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}`;
}

const WRITTEN = { number: digits, duration, time: clock };
const written = (value, kind) => (value === null ? "–" : (WRITTEN[kind] || String)(value));
const isRight = (kind) => kind === "number" || kind === "duration";

/** Order two values: numbers by size, text as people count ("a9" before "a10"). */
function order(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function compareRows(one, other) {
  const values = [one, other].map((row) => valueOf(row.run, state.key));
  // What is missing comes last, whichever way the others go.
  if (values.includes(null)) return (values[0] === null) - (values[1] === null);
  return order(values[0], values[1]) * (state.down ? -1 : 1);
}

function buildTable() {
  const tick = make("th", { scope: "col" }, "chart");
  const heads = report.columns.map((column) => {
    const button = make("button", { type: "button", textContent: column.label });
    button.addEventListener("click", () => sortBy(column));
    const head = make("th", { scope: "col", className: isRight(column.kind) ? "right" : "" }, button);
    head.dataset.key = column.key;
    return head;
  });
  byId("table").tHead.append(make("tr", {}, tick, ...heads));
  state.rows = runs.map((run) => ({ run, row: buildRow(run) }));
  sortTable();
  byId("filter").addEventListener("input", filterTable);
  byId("choose-best").addEventListener("click", () => choose(BEST));
  byId("choose-none").addEventListener("click", () => choose([]));
  choose(BEST);
  filterTable();
}

function buildRow(run) {
  run.tick = make("input", { type: "checkbox" });
  run.tick.setAttribute("aria-label", `Draw ${run.name}`);
  run.tick.addEventListener("change", () => toggle(run, run.tick.checked));
  run.swatch = make("span", { className: "swatch" });
  const cells = report.columns.map((column) => buildCell(run, column));
  run.words = cells.map((cell) => cell.textContent).join("\n").toLowerCase();
  const row = make("tr", {}, make("td", { className: "tick" }, make("label", {}, run.tick, run.swatch)), ...cells);
  row.classList.add(ENDED_BADLY.includes(run.status) ? "bad" : run.status === "running" ? "running" : "finished");
  return row;
}

function buildCell(run, column) {
  const value = valueOf(run, column.key);
  const text = written(value, column.kind);
  const cell = make("td", { className: isRight(column.kind) ? "right" : column.kind });
  if (column.kind === "name") {
    const button = make("button", { type: "button", textContent: text, title: "Show this run below" });
    button.addEventListener("click", () => showRun(run, true));
    cell.append(button);
    if (run.reason) cell.append(make("div", { className: "reason" }, run.reason));
  } else if (column.kind === "code") {
    cell.append(make("code", {}, text));
  } else {
    cell.append(make("span", { className: value === null ? "none" : column.key === "status" ? "state" : "" }, text));
  }
  if (value === null && column.kind === "setting") cell.title = "not typed: its default";
  return cell;
}

function sortBy(column) {
  // What one looks for first: the best figure, the newest run, the first name.
  const down = ["number", "time"].includes(column.kind) && !column.key.endsWith("loss");
  state.down = state.key === column.key ? !state.down : down;
  state.key = column.key;
  sortTable();
}

function sortTable() {
  state.rows.sort(compareRows);
  byId("table").tBodies[0].append(...state.rows.map((each) => each.row));
  for (const head of byId("table").tHead.querySelectorAll("th[data-key]")) {
    const isSorted = head.dataset.key === state.key;
    head.setAttribute("aria-sort", isSorted ? (state.down ? "descending" : "ascending") : "none");
  }
}

function filterTable() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { run, row } of state.rows) row.hidden = !words.every((word) => run.words.includes(word));
  const shown = shownRuns().length;
  byId("shown").textContent = shown < runs.length ? `${shown} of ${runs.length} runs` : `${runs.length} runs`;
  redraw("settings-chart", "speed-chart");
}

const shownRuns = () => state.rows.filter((each) => !each.row.hidden).map((each) => each.run);

/** Choose these runs instead of all others. */
function choose(wanted) {
  for (const run of runs) mark(run, wanted.includes(run));
  redraw("curves-chart");
}

function toggle(run, isChosen) {
  mark(run, isChosen);
  redraw("curves-chart");
}

/** Give a chosen run the first free colour, and show it beside its tick. */
function mark(run, isChosen) {
  run.tick.checked = isChosen;
  if (isChosen && !state.chosen.has(run)) {
    const taken = new Set(state.chosen.values());
    let colour = 0;
    while (taken.has(colour)) colour += 1;
    state.chosen.set(run, colour);
  } else if (!isChosen) {
    state.chosen.delete(run);
  }
  const colour = state.chosen.get(run);
  run.swatch.className = colour === undefined ? "swatch" : `swatch c${colour % 8}`;
}

function buildSeeds() {
  if (!report.seeds.length) return;
  const names = report.metrics.filter((name) => report.seeds.some((row) => row.metrics[name]));
  const heads = ["settings", "runs", ...names].map((text, place) =>
    make("th", { scope: "col", className: place ? "right" : "" }, text));
  const rows = report.seeds.map((row) => make("tr", {}, make("td", {}, row.settings),
    make("td", { className: "right" }, String(row.runs)),
    ...names.map((name) => make("td", { className: "right" }, row.metrics[name] ? spread(row.metrics[name]) : "–"))));
  byId("seeds-table").append(make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  byId("seeds").hidden = false;
}

const spread = ([mean, deviation]) => `${digits(mean)} ± ${digits(Number(deviation.toPrecision(2)))}`;
