// The table of runs: sorting, filtering and selection. Text is inserted as text only, never as HTML.
"use strict";

const byId = (id) => document.getElementById(id);
const FAILURE_STATUSES = ["failed", "interrupted", "corrupt"];
// The current report. A run stays the same object when its values change.
let report = { runs: [], columns: [], selection: [], hyperparameters: [], metrics: [], seeds: [], evaluations: [], benchmarks: [] };
let runs = report.runs;
// `selected` maps each selected run to the index of its color. The selection is automatic until the reader changes it.
const state = { sortKey: "started", descending: true, rows: [], selected: new Map(), isSelectionAutomatic: true };

const getDefaultSelection = () => runs.filter((run) => report.selection.includes(run.id));

/** Create an element with properties and children; a string becomes a text node. */
function createElement(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return the value of a run for a key such as "metrics/test/loss", or null. */
function getValue(run, key) {
  const [field, ...rest] = key.split("/");
  const value = rest.length ? run[field][rest.join("/")] : run[field];
  return value === undefined || value === "" ? null : value;
}

/** Format a number with four significant digits; other values are converted to text. */
function formatNumber(value) {
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)) return value.toExponential(2);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function formatDuration(seconds) {
  if (typeof seconds !== "number") return String(seconds);
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Format an ISO 8601 time in the time zone of the reader. */
function formatTime(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return String(text);
  const pad = (number) => String(number).padStart(2, "0");
  const day = `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;
  return `${day} ${pad(time.getHours())}:${pad(time.getMinutes())}`;
}

const formatFraction = (value) => (typeof value === "number" ? `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %` : String(value));
const FORMATTERS = { number: formatNumber, duration: formatDuration, time: formatTime, fraction: formatFraction };
const formatValue = (value, kind) => (value === null ? "–" : (FORMATTERS[kind] || String)(value));
const formatCount = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const isRightAligned = (kind) => ["number", "duration", "fraction"].includes(kind);

/** Compare two values: numbers by size, text in natural order ("a9" before "a10"). */
function compareValues(left, right) {
  if (typeof left === "number" && typeof right === "number") return left - right;
  return String(left).localeCompare(String(right), "en", { numeric: true });
}

function compareRows(left, right) {
  const values = [left, right].map((row) => getValue(row.run, state.sortKey));
  // Missing values come last in both directions.
  if (values.includes(null)) return (values[0] === null) - (values[1] === null);
  return compareValues(values[0], values[1]) * (state.descending ? -1 : 1);
}

function buildTable() {
  byId("filter").addEventListener("input", filterTable);
  byId("select-best").addEventListener("click", () => selectOnly(getDefaultSelection()));
  byId("clear-selection").addEventListener("click", () => selectOnly([]));
}

/** Show the current runs, and keep the elements of unchanged ones: focus and scroll positions stay. */
function updateTable(hasNewColumns) {
  if (hasNewColumns) buildColumns();
  const previous = new Map(state.rows.map((entry) => [entry.run, entry]));
  state.rows = runs.map((run) => previous.get(run) || { run, row: buildRow(run) });
  for (const { run, row } of previous.values()) {
    if (runs.includes(run)) continue;
    row.remove();
    setSelected(run, false);
  }
  for (const { run, row } of state.rows) if (hasNewColumns || run.isChanged) fillRow(run, row);
  sortTable();
  if (state.isSelectionAutomatic) for (const run of runs) setSelected(run, report.selection.includes(run.id));
  applyFilter();
  byId("runs").hidden = !runs.length;
}

function buildColumns() {
  const plotHeader = createElement("th", { scope: "col" }, "plot");
  const headers = report.columns.map((column) => {
    const button = createElement("button", { type: "button", textContent: column.label });
    button.addEventListener("click", () => sortBy(column));
    const header = createElement("th", { scope: "col", className: isRightAligned(column.kind) ? "right" : "" }, button);
    header.dataset.key = column.key;
    return header;
  });
  byId("table").tHead.replaceChildren(createElement("tr", {}, plotHeader, ...headers));
}

function buildRow(run) {
  run.checkbox = createElement("input", { type: "checkbox" });
  run.checkbox.setAttribute("aria-label", `Plot ${run.name}`);
  run.checkbox.addEventListener("change", () => toggleRun(run, run.checkbox.checked));
  run.swatch = createElement("span", { className: "swatch" });
  run.isChanged = true;
  const label = createElement("label", {}, run.checkbox, run.swatch);
  return createElement("tr", {}, createElement("td", { className: "checkbox" }, label));
}

/** Show the values of a run in its row. Cells that stay the same are kept. */
function fillRow(run, row) {
  const cells = report.columns.map((column) => buildCell(run, column));
  run.searchText = cells.map((cell) => cell.textContent).join("\n").toLowerCase();
  cells.forEach((cell, index) => {
    const previous = row.cells[index + 1];
    if (!previous) row.append(cell);
    else if (!previous.isEqualNode(cell)) previous.replaceWith(cell);
  });
  while (row.cells.length > cells.length + 1) row.lastChild.remove();
  const isFailed = FAILURE_STATUSES.includes(run.status);
  row.className = isFailed ? "failed" : run.status === "running" ? "running" : "finished";
}

function buildCell(run, column) {
  const value = getValue(run, column.key);
  const text = formatValue(value, column.kind);
  const cell = createElement("td", { className: isRightAligned(column.kind) ? "right" : column.kind });
  if (column.kind === "name") {
    const button = createElement("button", { type: "button", textContent: text, title: "Show run details" });
    button.addEventListener("click", () => openRun(run));
    cell.append(button);
    if (run.reason) cell.append(createElement("div", { className: "reason" }, run.reason));
  } else if (column.kind === "code") {
    cell.append(createElement("code", {}, text));
  } else {
    const className = value === null ? "none" : column.key === "status" ? "status" : "";
    cell.append(createElement("span", { className }, text));
  }
  if (value === null && column.kind === "override") cell.title = "not overridden: default value";
  return cell;
}

function sortBy(column) {
  // The first click shows what readers look for first: the best value, the newest run, the first name.
  const descending = ["number", "fraction", "time"].includes(column.kind) && !column.key.endsWith("loss");
  state.descending = state.sortKey === column.key ? !state.descending : descending;
  state.sortKey = column.key;
  sortTable();
}

function sortTable() {
  state.rows.sort(compareRows);
  const body = byId("table").tBodies[0];
  const focused = document.activeElement;
  let next = body.firstElementChild;
  for (const { row } of state.rows) {
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  }
  // A row that was moved has lost the focus.
  if (body.contains(focused) && focused !== document.activeElement) focused.focus({ preventScroll: true });
  for (const header of byId("table").tHead.querySelectorAll("th[data-key]")) {
    const isSorted = header.dataset.key === state.sortKey;
    header.setAttribute("aria-sort", isSorted ? (state.descending ? "descending" : "ascending") : "none");
  }
}

function filterTable() {
  applyFilter();
  redraw("hyperparameters-chart", "speed-chart");
}

function applyFilter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { run, row } of state.rows) row.hidden = !words.every((word) => run.searchText.includes(word));
  const count = filteredRuns().length;
  byId("filter-count").textContent = (count < runs.length ? `${count} of ` : "") + formatCount(runs.length, "run");
}

const filteredRuns = () => state.rows.filter(({ row }) => !row.hidden).map(({ run }) => run);

/** Select these runs and deselect all others. */
function selectOnly(selection) {
  state.isSelectionAutomatic = false;
  for (const run of runs) setSelected(run, selection.includes(run));
  redraw("curves-chart");
}

function toggleRun(run, isSelected) {
  state.isSelectionAutomatic = false;
  setSelected(run, isSelected);
  redraw("curves-chart");
}

/** Select or deselect a run. A selected run gets the first unused color, which its swatch shows. */
function setSelected(run, isSelected) {
  run.checkbox.checked = isSelected;
  if (isSelected && !state.selected.has(run)) {
    const used = new Set(state.selected.values());
    let color = 0;
    while (used.has(color)) color += 1;
    state.selected.set(run, color);
  } else if (!isSelected) {
    state.selected.delete(run);
  }
  const color = state.selected.get(run);
  run.swatch.className = color === undefined ? "swatch" : `swatch c${color % 8}`;
}

function showSeeds() {
  const names = report.metrics.filter((name) => report.seeds.some((row) => row.metrics[name]));
  const headers = ["overrides", "runs", ...names].map((text, index) =>
    createElement("th", { scope: "col", className: index ? "right" : "" }, text));
  const rows = report.seeds.map((row) => createElement("tr", {}, createElement("td", {}, row.overrides),
    createElement("td", { className: "right" }, row.runs < row.total ? `${row.runs} of ${row.total}` : String(row.runs)),
    ...names.map((name) => createElement("td", { className: "right" },
      row.metrics[name] ? formatMeanAndStd(row.metrics[name]) : "–"))));
  byId("seeds-table").replaceChildren(createElement("thead", {}, createElement("tr", {}, ...headers)),
    createElement("tbody", {}, ...rows));
  byId("seeds").hidden = !report.seeds.length;
}

const formatMeanAndStd = ([mean, std]) => `${formatNumber(mean)} ± ${formatNumber(Number(std.toPrecision(2)))}`;
