// Uncommitted changes and packages of the selected run, and the differences between two runs. The script that loads the
// data defines `getProvenance` and `UNKNOWN_PROVENANCE`.

function showProvenance(run) {
  const { diff, diff_remark: remark, parts } = getProvenance(run) || {};
  const lines = (diff || "").replace(/\n$/, "").split("\n");
  const title = "Uncommitted changes" + (diff ? ` (${formatCount(lines.length, "line")})` : "");
  showLines("run-diff", diff || remark ? title : "", diff ? lines : [], getLineClass);
  byId("run-diff").querySelector("p").textContent = remark || "";
  const packages = Object.entries(parts?.packages || {});
  showLines("run-packages", packages.length ? `Packages (${packages.length})` : "", packages.map((item) => item.join("  ")), () => "");
}

/** Fill a details element, or hide it if it has no title. Its content is built when it is opened. */
function showLines(id, title, lines, getClass) {
  const element = byId(id);
  const box = element.querySelector("pre");
  const build = () => box.replaceChildren(...lines.map((line) =>
    createElement("span", { className: getClass(line) }, `${line}\n`)));
  element.hidden = !title;
  element.querySelector("summary").textContent = title;
  element.ontoggle = () => { if (element.open) build(); };
  if (!element.open) box.replaceChildren();
  else if (box.textContent !== lines.map((line) => `${line}\n`).join("")) build();
}

function getLineClass(line) {
  if (line.startsWith("diff --")) return "file";
  if (/^(\+\+\+|---) /.test(line)) return "";
  return line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
}

const DIFFERENCES = ["differences-first", "differences-second"];

function buildDifferences() {
  for (const id of DIFFERENCES) byId(id).addEventListener("change", showDifferences);
}

/** Offer the current runs. The first two of the default selection are compared until the reader chooses others. */
function updateDifferences() {
  byId("differences").hidden = runs.length < 2;
  if (runs.length < 2) return;
  const chosen = [...new Set([...getDefaultSelection(), ...runs])];
  const labels = new Map(runs.map((run) => [String(run.id), getLabel(run)]));
  DIFFERENCES.forEach((id, index) =>
    fillSelect(byId(id), [...labels.keys()], String(chosen[index].id), (key) => labels.get(key)));
  showDifferences();
}

/** Show what belongs to a run again after its provenance was loaded. */
function showLoadedProvenance(run) {
  if (state.run === run) showProvenance(run);
  if (DIFFERENCES.some((id) => byId(id).value === String(run.id))) showDifferences();
}

function showDifferences() {
  const chosen = DIFFERENCES.map((id) => runs.find((run) => String(run.id) === byId(id).value));
  const parts = chosen.map((run) => run && getProvenance(run)?.parts);
  const isKnown = parts.every(Boolean);
  const rows = isKnown ? Object.keys(parts[0]).flatMap((section) => buildDifferenceRows(section, parts)) : [];
  const header = ["key", ...chosen.map((run) => run && getLabel(run))].map((text) => createElement("th", { scope: "col" }, text));
  const table = [createElement("thead", {}, createElement("tr", {}, ...header)), createElement("tbody", {}, ...rows)];
  const body = byId("differences-table").querySelector("tbody");
  // An equal table stays, with the text that the reader has selected in it.
  if (!rows.length || !body?.isEqualNode(table[1])) byId("differences-table").replaceChildren(...(rows.length ? table : []));
  byId("differences-remark").textContent = !isKnown ? UNKNOWN_PROVENANCE
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
