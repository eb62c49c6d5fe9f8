// Uncommitted changes and packages of the selected run, and the differences between two runs.

let provenance = null;

/** Return the provenance of all runs, parsed on first use; empty while the page is still loading. */
function getProvenance() {
  const element = byId("provenance");
  if (!provenance && element) provenance = JSON.parse(element.textContent);
  return provenance || { runs: {} };
}

/** Return the sections of a run that are compared: texts by key. */
function getParts(run) {
  const { runs: all, packages, config } = getProvenance();
  const own = all[runs.indexOf(run)];
  if (!own) return null;
  const { overrides, ...others } = own.parts;
  const settings = Object.entries({ ...config, ...own.config }).filter(([, value]) => value !== null);
  return { overrides, config: Object.fromEntries(settings), ...others, packages: packages[own.packages] || {} };
}

const getDiff = (run) => {
  const { runs: all, diffs } = getProvenance();
  const own = all[runs.indexOf(run)];
  return own ? { text: diffs[own.diff], remark: own.diff_remark } : {};
};

function showProvenance(run) {
  const { text, remark } = getDiff(run);
  const lines = (text || "").replace(/\n$/, "").split("\n");
  showDetails("run-diff", text || remark, text ? `Uncommitted changes (${formatCount(lines.length, "line")})` : "Uncommitted changes",
    () => lines.map((line) => createElement("span", { className: getLineClass(line) }, `${line}\n`)));
  byId("run-diff").querySelector("p").textContent = remark || "";
  const packages = Object.entries(getParts(run)?.packages || {});
  showDetails("run-packages", packages.length, `Packages (${packages.length})`,
    () => packages.map(([name, version]) => `${name}  ${version}\n`));
}

/** Fill a details element, or hide it. Its content is built when it is opened. */
function showDetails(id, isShown, title, build) {
  const element = byId(id);
  element.hidden = !isShown;
  element.open = false;
  element.querySelector("summary").textContent = title;
  element.querySelector("pre").replaceChildren();
  element.ontoggle = () => { if (element.open) element.querySelector("pre").replaceChildren(...build()); };
}

function getLineClass(line) {
  if (line.startsWith("diff --")) return "file";
  if (/^(\+\+\+|---) /.test(line)) return "";
  return line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
}

function buildDifferences() {
  if (runs.length < 2) return;
  const [first, second] = [...DEFAULT_SELECTION, ...runs.filter((run) => !DEFAULT_SELECTION.includes(run))];
  for (const [id, run] of [["differences-first", first], ["differences-second", second]]) {
    fillSelect(byId(id), runs.map((_, index) => index), runs.indexOf(run), (index) => getLabel(runs[index]));
    byId(id).addEventListener("change", showDifferences);
  }
  byId("differences").hidden = false;
  showDifferences();
  // The provenance follows the details of the last run.
  addEventListener("DOMContentLoaded", () => { showDifferences(); if (state.run) showProvenance(state.run); });
}

function showDifferences() {
  const chosen = ["differences-first", "differences-second"].map((id) => runs[Number(byId(id).value)]);
  const parts = chosen.map(getParts);
  const isKnown = parts.every(Boolean);
  const rows = isKnown ? Object.keys(parts[0]).flatMap((section) => buildDifferenceRows(section, parts)) : [];
  const header = ["key", ...chosen.map(getLabel)].map((text) => createElement("th", { scope: "col" }, text));
  const table = [createElement("thead", {}, createElement("tr", {}, ...header)), createElement("tbody", {}, ...rows)];
  byId("differences-table").replaceChildren(...(rows.length ? table : []));
  byId("differences-remark").textContent = !isKnown ? "At least one of these runs is not stored on this page."
    : rows.length ? "" : "No differences in overrides, config, source code, packages and machine.";
}

/** Return the heading of a section and a row for each of its keys whose values differ. */
function buildDifferenceRows(section, parts) {
  const values = parts.map((part) => part[section]);
  // A key may be the name of a method that each object has.
  const get = (value, key) => (Object.hasOwn(value, key) ? value[key] : null);
  const keys = [...new Set(values.flatMap(Object.keys))].sort(compareValues)
    .filter((key) => get(values[0], key) !== get(values[1], key));
  if (!keys.length) return [];
  const heading = createElement("tr", {}, createElement("th", { scope: "rowgroup", colSpan: 3 }, section));
  return [heading, ...keys.map((key) => createElement("tr", {}, createElement("td", {}, key),
    ...values.map((value) => createElement("td", { className: get(value, key) === null ? "none" : "" }, get(value, key) ?? "–"))))];
}
