// The data of `make report`, which is embedded in the page.

/** Store the details of a run, parsed on first use. They are missing while the page is still loading. */
function loadDetails(run) {
  const element = byId(`run-${run.id}`);
  if (element && !details.has(run)) details.set(run, JSON.parse(element.textContent));
}

const UNKNOWN_PROVENANCE = "At least one of these runs is not stored on this page.";
let provenance = null;

/** Return the provenance of a run; null if the page does not contain it, or is still loading. */
function getProvenance(run) {
  const element = byId("provenance");
  if (!provenance && element) provenance = JSON.parse(element.textContent);
  const own = provenance?.runs[run.id];
  if (!own) return null;
  const { overrides, ...others } = own.parts;
  // Equal texts are stored once, and of a config only the differences from the config of the first run.
  const config = Object.fromEntries(Object.entries({ ...provenance.config, ...own.config }).filter(([, value]) => value !== null));
  const parts = { overrides, config, ...others, packages: provenance.packages[own.packages] || {} };
  return { diff: provenance.diffs[own.diff], diff_remark: own.diff_remark, parts };
}

// The provenance follows the details of the last run.
addEventListener("DOMContentLoaded", () => {
  if (!state.run) return;
  showProvenance(state.run);
  if (runs.length > 1) showDifferences();
});

update(JSON.parse(byId("report").textContent));
