// The data of `make live`: changes arrive as Server-Sent Events, and details of the runs that are shown are requested.

const runsByName = new Map();
let lastEventId = "";
let stream = null;

/** Connect to the server, which sends all that has changed since the last event. */
function connect() {
  stream?.close();
  if (document.hidden) return;
  stream = new EventSource(`events?last_id=${encodeURIComponent(lastEventId)}`);
  stream.addEventListener("open", () => showConnection("connected"));
  stream.addEventListener("message", (event) => {
    lastEventId = event.lastEventId;
    applyChanges(JSON.parse(event.data));
    showConnection("connected");
  });
  stream.addEventListener("error", ({ target }) => {
    showConnection("reconnecting");
    // The browser connects again by itself unless the server answers with an error.
    if (target.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

function showConnection(status) {
  const time = formatTime(new Date().toISOString()).slice(-5);
  byId("connection").textContent = status === "connected" ? `connected · last change at ${time}`
    : `${status} … The values below may be outdated.`;
  byId("connection").className = status === "connected" ? "muted connected" : status;
}

/** Update the runs that have changed. A run keeps its object, so that the page keeps what the reader has chosen. */
function applyChanges({ order, runs: changed, report: next }) {
  for (const info of changed) {
    const run = runsByName.get(info.name) || {};
    for (const key of ["progress", "left_s"]) delete run[key];
    runsByName.set(info.name, Object.assign(run, info, { isChanged: true }));
  }
  const byRunId = new Map([...runsByName.values()].map((run) => [run.id, run]));
  for (const [name, run] of runsByName) {
    if (order.includes(run.id)) continue;
    runsByName.delete(name);
    details.delete(run);
    if (state.run === run) state.run = null;
  }
  update({ ...report, ...next, runs: order.map((id) => byRunId.get(id)) });
  if (state.run) loadDetails(state.run, ALL_PARTS);
}

/** Request the parts of a run that have changed since they were loaded. */
function loadDetails(run, parts) {
  run.loaded ??= {};
  for (const part of parts) if (run.loaded[part] !== run.versions[part]) loadPart(run, part);
}

const UNKNOWN_PROVENANCE = "Loading …";

/** Return the provenance of a run, or null while it is being loaded. */
function getProvenance(run) {
  loadDetails(run, ["provenance"]);
  return details.get(run)?.provenance || null;
}

async function loadPart(run, part) {
  const version = run.versions[part];
  const previous = run.loaded[part];
  run.loaded[part] = version;
  try {
    const response = await fetch(`runs/${run.id}/${part}`);
    if (!response.ok) throw new Error(response.statusText);
    const loaded = await response.json();
    if (runsByName.get(run.name) !== run) return;
    const known = details.get(run) || { ...NO_DETAILS };
    // Results are shown again if their object is a new one.
    details.set(run, part === "results" ? { ...known, ...loaded } : Object.assign(known, loaded));
    if (part === "provenance") showLoadedProvenance(run);
    else showLoadedDetails(run);
  } catch {
    // Requested again when the page is connected again.
    if (run.loaded[part] === version) run.loaded[part] = previous;
  }
}

// A browser opens at most six connections to an address. Pages that are not visible leave theirs to others.
document.addEventListener("visibilitychange", connect);
connect();
