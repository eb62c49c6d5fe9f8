// The page of `make demo`: sends an image or a text to the server, and shows the prediction.

const byId = (id) => document.getElementById(id);
const settings = JSON.parse(byId("settings").textContent);
let lastRequest = 0;
let previewAddress = "";

byId(settings.modality).hidden = false;

/** Predict a file or a text; an answer that arrives after a newer request is ignored. */
async function predict(body, size, name) {
  const number = ++lastRequest;
  byId("prediction").hidden = true;
  if (size > settings.max_bytes) return showStatus(settings.too_large, true);
  showStatus(name ? `Predicting ${name} …` : "Predicting …");
  let answer;
  try {
    const response = await fetch("predict", { method: "POST", body, cache: "no-store" });
    answer = await response.json();
  } catch {
    answer = { error: "The server does not answer. Start make demo again, or choose the file again if it has changed." };
  }
  if (number !== lastRequest) return;
  if (answer.error) return showStatus(answer.error, true);
  showStatus(name);
  showPrediction(answer, body);
}

function showStatus(text, isError = false) {
  byId("status").textContent = text;
  byId("status").className = isError ? "error" : "muted";
}

function showPrediction({ kind, rows, total }, body) {
  const hasBars = kind !== "values";
  const isChosen = ({ value }, index) => (kind === "labels" ? value > 0.5 : index === 0);
  const chosen = rows.filter(isChosen);
  const answers = {
    classes: () => rows[0].name,
    labels: () => chosen.map(({ name }) => name).join(", ") || "None of the labels",
    values: () => "",
  };
  byId("answer").textContent = answers[kind]();
  byId("rows").replaceChildren(...rows.map((row, index) => makeRow(row, hasBars, isChosen(row, index))));
  const remarks = [];
  if (kind === "labels") remarks.push("A label is predicted above 50 %.");
  if (total > rows.length) remarks.push(`The first ${rows.length} of ${total}.`);
  byId("remark").textContent = remarks.join(" ");
  showPreview(body);
  byId("prediction").hidden = false;
}

function makeRow({ name, value }, hasBar, isChosen) {
  const item = document.createElement("li");
  const line = document.createElement("div");
  line.className = "line";
  line.append(makeSpan("name", name), makeSpan("value", hasBar ? formatPercent(value) : value));
  item.append(line);
  if (hasBar) {
    const bar = document.createElement("div");
    bar.className = "bar";
    const filled = document.createElement("div");
    filled.style.width = `${100 * value}%`;
    bar.append(filled);
    item.append(bar);
  }
  item.className = isChosen ? "chosen" : "";
  return item;
}

function makeSpan(className, text) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  return span;
}

function formatPercent(value) {
  const percent = 100 * value;
  return percent > 0 && percent < 0.01 ? "< 0.01 %" : `${percent.toFixed(percent < 1 ? 2 : 1)} %`;
}

/** Show the image, if the browser knows its format. */
function showPreview(body) {
  URL.revokeObjectURL(previewAddress);
  previewAddress = "";
  const image = byId("preview");
  image.hidden = true;
  if (!(body instanceof Blob)) return;
  previewAddress = URL.createObjectURL(body);
  image.onload = () => { image.hidden = false; };
  image.src = previewAddress;
}

function predictFile(file) {
  if (file && settings.modality === "images") predict(file, file.size, file.name);
}

function predictText(event) {
  event?.preventDefault();
  const body = new TextEncoder().encode(byId("input").value);
  predict(body, body.length, "");
}

byId("file").addEventListener("change", ({ target }) => {
  predictFile(target.files[0]);
  target.value = ""; // The same file can be chosen again.
});
byId("form").addEventListener("submit", predictText);
byId("input").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predictText(event);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (settings.modality !== "images") return;
    event.preventDefault(); // Otherwise, the browser would open the file.
    byId("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") predictFile(event.dataTransfer.files[0]);
  });
}
