"""The sections of a model card: use, results, classes, data, training, license. All text of users is escaped."""

import json
from typing import Any

from firstlight.export.hub_programs import PROGRAM_FILE, get_example, get_requirements
from firstlight.export.markdown import clean_text, escape_markdown, format_code_block, format_table
from firstlight.export.origins import find_base_model
from firstlight.export.run_facts import Results
from firstlight.export.source import ExportSource
from firstlight.run.progress import format_duration
from firstlight.run.text import format_command
from firstlight.run_data.evaluations import describe_data
from firstlight.run_data.run_info import get_dict

# The section that the author writes. It survives the next export.
AUTHOR_HEADING = "## Intended use and limitations"
MAX_CLASSES = 100
MAX_LINE_LENGTH = 100
TASK_NAMES = {"multilabel": "multi-label classification"}
MAIN_METRICS = ("accuracy", "f1", "f1_macro", "average_precision", "mae", "r2")
TEXT_PROGRAM = """import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

directory = {directory}
model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
tokenizer = AutoTokenizer.from_pretrained(directory)
inputs = tokenizer(["A text"], truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
{interpret}"""
INTERPRET = {
    "classification": """probabilities = logits.softmax(-1)[0]
print({model.config.id2label[index]: float(value) for index, value in enumerate(probabilities)})""",
    "multilabel": """probabilities = logits.sigmoid()[0]  # of each label independently
print({model.config.id2label[index]: float(value) for index, value in enumerate(probabilities)})""",
}
NO_LICENSE = """**No license is set.** Ask the author before you use this model. The author sets a license with \
`license=<identifier>` of `make export`, after a check of the licenses of data and pretrained weights."""


def format_body(
    name: str,
    source: ExportSource,
    library: str,
    metadata: dict[str, Any],
    record: dict[str, Any],
    results: Results | None,
    plots: dict[str, str],
    author_section: str,
    repo_id: str | None,
) -> str:
    """Return the card without its YAML header.

    Args:
        name: Name of the run.
        source: The exported model.
        library: See `find_library`.
        metadata: Metadata of the export.
        record: Contents of run.json; {} if there is no run.
        results: Metrics of the exported checkpoint, or None if there are none.
        plots: Plots in the directory of the card, and their titles.
        author_section: Markdown of the author.
        repo_id: Name of the model on the Hub, or None.
    """
    sections = {
        f"# {escape_markdown(name)}": format_introduction(source, results),
        "## Use": format_use(source, library, repo_id),
        "## Results": format_results(results, plots),
        "## Classes": format_classes(metadata),
        AUTHOR_HEADING: author_section,
        "## Data": format_data(source, metadata, record),
        "## Training": format_training(source, record, plots),
        "## License": format_license(source),
    }
    return "\n".join(f"{heading}\n\n{text}\n" for heading, text in sections.items() if text)


def format_introduction(source: ExportSource, results: Results | None) -> str:
    """Return a sentence about the model, and its most important results."""
    task = TASK_NAMES.get(str(source.task), source.task)
    kind = " ".join(filter(None, ({"images": "image", "text": "text"}.get(str(source.modality)), task)))
    data = describe_dataset(source.config.get("data") or {})
    network = find_network_name(source)
    name = escape_markdown(f"{type(source.model).__name__}{f' ({network})' if network else ''}")
    sentence = f"{name}{f' for {kind}' if kind else ''}, trained with PyTorch on {escape_markdown(data)}."
    shown = [f"{name} {results.metrics[name]:.4g}" for name in MAIN_METRICS if results and name in results.metrics]
    return f"{sentence} {results.split.capitalize()} split: {', '.join(shown)}." if results and shown else sentence


def find_network_name(source: ExportSource) -> str:
    """Return the name of a network in its library, such as convnext_tiny, or "" if it has none."""
    name = getattr(source.model, "name", None)
    config = getattr(getattr(source.model, "network", None), "config", None)
    return name if isinstance(name, str) else str(getattr(config, "model_type", ""))


def format_use(source: ExportSource, library: str, repo_id: str | None) -> str:
    """Return the code that loads the model, and what it requires."""
    if library == "transformers":
        interpret = INTERPRET.get(str(source.task), "print(logits)")
        if source.task == "regression":
            model = source.model
            interpret = f"print(float(logits.reshape(-1)[0]) * {model.target_std!r} + {model.target_mean!r})"
        directory = json.dumps(repo_id) if repo_id else '"."  # or "<owner>/<name>" of the Hugging Face Hub'
        program = TEXT_PROGRAM.format(directory=directory, interpret=interpret)
        return f"Requires torch and transformers.\n\n{format_code_block(program, 'python')}"
    example = get_example(source)
    owner_and_name = repo_id or "<owner>/<name>"
    download = f"hf download {owner_and_name} --local-dir model && cd model"
    lines = [f"Requires {get_requirements(source, library)}."]
    if example:
        lines.append(format_code_block(f"{download}\npython {PROGRAM_FILE} {example}", "bash"))
        lines.append("The same from Python, in that directory:")
        argument = example.strip('"')
        call = f'format_prediction(model(load_inputs("{argument}")))'
        program = f"from load import format_prediction, load_inputs, load_model\n\nmodel = load_model()\nprint({call})"
    else:
        lines.append(format_code_block(download, "bash"))
        program = "from load import load_model\n\nmodel = load_model()"
    lines.append(format_code_block(program, "python"))
    if library == "timm":
        lines.append(f'timm also loads it: `timm.create_model("hf-hub:{owner_and_name}", pretrained=True)`.')
    if library == "torch":
        lines.append(
            "`model.pt2` is a program of torch.export, which runs without the source code of the model. Loading such a "
            "file can run code, so load it only if you trust its author. `model.safetensors` has only the weights."
        )
    lines.append("`config.json` describes inputs, outputs and preprocessing.")
    return "\n\n".join(lines)


def format_results(results: Results | None, plots: dict[str, str]) -> str:
    """Return the metrics with their confidence intervals, and the confusion matrix."""
    if results is None:
        return "This checkpoint has no recorded evaluation."
    count = f", {results.num_samples:,} samples" if results.num_samples else ""
    header, rows = ["Metric", "Value"], [(name, f"{value:.4g}") for name, value in results.metrics.items()]
    if results.intervals:
        bounds = {name: "{:.4g} to {:.4g}".format(*pair) for name, pair in results.intervals.items()}
        header = ["Metric", "Value", "Confidence interval (95 %)"]
        rows = [(*row, bounds.get(row[0], "not computed")) for row in rows]  # type: ignore[misc]
    data = f" of {escape_markdown(describe_dataset(results.data))}" if results.data else ""
    parts = [f"{results.split.capitalize()} split{data}{count}.", format_table(header, rows)]
    parts += format_plot(plots, "confusion_matrix.png")
    return "\n\n".join(parts)


def format_classes(metadata: dict[str, Any]) -> str:
    """Return the names of the classes or labels in the order of the logits, or the target."""
    if "target_name" in metadata:
        return f"The target is {escape_markdown(metadata['target_name'])}."
    names = metadata.get("class_names") or metadata.get("label_names") or []
    more = f" ... ({len(names):,} in total, see `config.json`)" if len(names) > MAX_CLASSES else ""
    shown = ", ".join(f"{index}: {escape_markdown(name)}" for index, name in enumerate(names[:MAX_CLASSES]))
    return f"{shown}{more}"


def format_data(source: ExportSource, metadata: dict[str, Any], record: dict[str, Any]) -> str:
    """Return the dataset, the sizes of its splits and the preprocessing."""
    sizes = {name: f"{size:,}" for name, size in get_dict(record, "samples").items() if isinstance(size, int)}
    keys = ("crop", "max_length", "mean", "std", "normalization", "tokenizer")
    preprocessing = get_dict(metadata, "preprocessing")
    rows = [
        ("dataset", describe_dataset(source.config.get("data") or {})),
        ("samples", ", ".join(f"{name} {size}" for name, size in sizes.items())),
        *((key, format_numbers(preprocessing.get(key))) for key in keys),
    ]
    return f"{format_table(['Property', 'Value'], rows)}\n\nThe license of the data is not recorded."


def format_training(source: ExportSource, record: dict[str, Any], plots: dict[str, str]) -> str:
    """Return hardware, duration, command and versions of the training, and the learning curves."""
    config, machine = source.config, get_dict(record, "machine")
    duration, git = record.get("duration_s"), get_dict(record, "git")
    device, devices = record.get("device"), record.get("devices")
    parameters = get_dict(record, "parameters").get("total")
    commit = str(git.get("commit") or "")[:12]
    rows = [
        ("device", f"{devices} x {device}" if device and devices not in (None, 1) else device),
        ("machine", f"{machine['system']}, {machine.get('cores')} cores" if "system" in machine else ""),
        ("precision", record.get("precision")),
        ("duration", format_duration(duration) if isinstance(duration, int | float) else ""),
        ("parameters", f"{parameters:,}" if isinstance(parameters, int) else ""),
        ("seed", record.get("seed")),
        ("optimizer", format_group(config.get("optimizer"))),
        ("scheduler", format_group(config.get("scheduler"))),
        ("batch size", (config.get("data") or {}).get("batch_size")),
        ("commit", f"{commit}{', with uncommitted changes' if git.get('dirty') else ''}" if commit else ""),
        ("versions", ", ".join(f"{name} {version}" for name, version in get_dict(record, "versions").items())),
    ]
    parts = [format_table(["Setting", "Value"], [(key, "" if value is None else value) for key, value in rows])]
    if isinstance(record.get("command"), str):
        parts.append(format_code_block(format_run_command(record), "bash"))
    return "\n\n".join([*parts, *format_plot(plots, "learning_curves.png")])


def format_run_command(record: dict[str, Any]) -> str:
    """Return the command of a run; a long one has a line per override."""
    command, overrides = record["command"], record.get("overrides")
    words = [format_command(str(override)) for override in overrides] if isinstance(overrides, list) else []
    tail = " ".join(words)
    if len(command) <= MAX_LINE_LENGTH or not words or not command.endswith(tail):
        return clean_text(command, max_length=None)
    lines = [command.removesuffix(tail).rstrip(), *words]
    return " \\\n  ".join(clean_text(line, max_length=None) for line in lines)


def format_license(source: ExportSource) -> str:
    """Return the license of the model, and the license of the pretrained weights as far as it is known."""
    name, base_model = source.config.get("license"), find_base_model(source)
    parts = [f"License of this model: {escape_markdown(name)}." if name else NO_LICENSE]
    if base_model is not None:
        known = f"license {escape_markdown(base_model.license)}" if base_model.license else "license not recorded"
        parts.append(f"Pretrained weights: {escape_markdown(base_model.name)}, {known}.")
    return "\n\n".join(parts)


def format_plot(plots: dict[str, str], name: str) -> list[str]:
    """Return the image of a plot, or nothing if the run has no such plot."""
    return [f"![{plots[name]}]({name})"] if name in plots else []


def format_group(config: Any) -> str:
    """Return the class and the arguments of a config group, such as "AdamW, lr 0.001"."""
    if not isinstance(config, dict) or not config.get("_target_"):
        return ""
    arguments = [
        f"{key} {format_numbers(value)}"
        for key, value in config.items()
        if key != "_target_" and value not in (None, [], {})
    ]
    return ", ".join([str(config["_target_"]).rpartition(".")[2], *arguments])


def format_numbers(value: Any) -> str:
    """Return a value, with the numbers of a list rounded to four digits."""
    if isinstance(value, list):
        return ", ".join(format_numbers(item) for item in value)
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def describe_dataset(data: dict[str, Any]) -> str:
    """Return the class of a dataset with its location, or its name on the Hugging Face Hub."""
    name = data.get("dataset_name")
    if isinstance(name, str):
        return name
    kind, separator, location = describe_data({"data": data}).partition(", ")
    return f"{kind.removesuffix('DataModule') or kind}{separator}{location}"
