// The data of `make report`, which is embedded in the page.

/** Store the details of a run, parsed on first use. They are missing while the page is still loading. */
function loadDetails(run) {
  const element = byId(`run-${run.id}`);
  if (element && !details.has(run)) details.set(run, JSON.parse(element.textContent));
}

update(JSON.parse(byId("report").textContent));
