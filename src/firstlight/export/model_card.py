"""README.md of an export for the Hub: the model card, filled from the files of the run."""

import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from firstlight.export import card_sections
from firstlight.export.hub import find_library, read_metadata
from firstlight.export.markdown import clean_text
from firstlight.export.origins import find_base_model, find_hub_dataset
from firstlight.export.run_facts import Results, copy_plot, find_results, load_record
from firstlight.export.source import ExportSource
from firstlight.run.text import format_printable

CARD_FILE = "README.md"
PLOTS = {"learning_curves.png": "Learning curves", "confusion_matrix.png": "Confusion matrix"}
PLACEHOLDER = """_To be written by the author: what the model is for, for whom, on which inputs it was not tested, and \
how it fails. The results above hold only for data like the evaluated split._"""
# Tasks of the Hub, by task and modality.
HUB_TASKS = {
    ("classification", "images"): "image-classification",
    ("multilabel", "images"): "image-classification",
    ("classification", "text"): "text-classification",
    ("multilabel", "text"): "text-classification",
}
# Names of metrics on the Hub that differ from the names of this package.
METRIC_TYPES = {"f1_micro": "f1", "f1_macro": "f1", "r2": "r_squared"}


def write_model_card(source: ExportSource, output_dir: Path, previous: Path, repo_id: str | None = None) -> None:
    """Write README.md and the plots of the run to the directory of an export.

    Args:
        source: The exported model.
        output_dir: Directory with the other files of the export.
        previous: The README.md of an earlier export. The section of its author is kept.
        repo_id: Name of the model on the Hub, for the code that loads it. If None, the code loads the directory.
    """
    run_dir, record = load_record(source.checkpoint)
    results = find_results(run_dir, record, source.checkpoint, source.config.get("trainer"))
    directories = [results.directory, run_dir] if results else [run_dir]
    plots = [name for name in PLOTS if any(copy_plot(directory / name, output_dir / name) for directory in directories)]
    name = clean_text(run_dir.resolve().name)
    library = find_library(source, output_dir)
    body = card_sections.format_body(
        name=name,
        source=source,
        library=library,
        metadata=read_metadata(output_dir),
        record=record,
        results=results,
        plots={plot: PLOTS[plot] for plot in plots},
        author_section=read_author_section(previous),
        repo_id=repo_id,
    )
    data = make_card_data(name, source, library, results)
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}").save(output_dir / CARD_FILE)


def make_card_data(name: str, source: ExportSource, library: str, results: Results | None) -> ModelCardData:
    """Return the metadata of the card, from which the Hub builds its search and its table of results."""
    task = HUB_TASKS.get((str(source.task), str(source.modality)))
    base_model, dataset = find_base_model(source), find_hub_dataset(source.config)
    evaluated = make_eval_results(source, results, task or "other") if results else []
    return ModelCardData(
        license=source.config.get("license"),
        library_name="pytorch" if library in ("torch", "torchvision") else library,
        pipeline_tag=task,
        base_model=base_model.hub_id if base_model else None,
        datasets=[dataset] if dataset else None,
        tags=["pytorch", *(["torchvision"] if library == "torchvision" else [])],
        metrics=sorted({result.metric_type for result in evaluated}) or None,
        model_name=name if evaluated else None,
        eval_results=evaluated or None,
    )


def make_eval_results(source: ExportSource, results: Results, task: str) -> list[EvalResult]:
    """Return the results for the model-index of the card; losses are left out, because their scale differs."""
    data = results.data or source.config.get("data") or {}
    dataset_name = clean_text(card_sections.describe_dataset(data))
    return [
        EvalResult(
            task_type=task,
            dataset_type=find_hub_dataset({"data": data}) or make_identifier(dataset_name),
            dataset_name=dataset_name,
            dataset_split=results.split,
            metric_type=METRIC_TYPES.get(name, make_identifier(name)),
            metric_name=clean_text(name),
            metric_value=value,
        )
        for name, value in results.metrics.items()
        if name != "loss"
    ]


def make_identifier(text: str) -> str:
    """Return a text in lower-case letters, digits and underscores, as the Hub names metrics and datasets."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


def read_author_section(path: Path) -> str:
    """Return the section of the author in an earlier README.md, or the placeholder."""
    text = ""
    if path.is_file() and not path.is_symlink():
        text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    # Up to the next section of this package, because the author's text may contain headings.
    match = re.search(rf"(?ms)^{re.escape(card_sections.AUTHOR_HEADING)}[ \t]*\n(.*?)(?=^## Data[ \t]*$|\Z)", text)
    section = match.group(1).strip() if match else ""
    return re.sub(r"[^\n\t\xa0]+", lambda part: format_printable(part.group()), section) or PLACEHOLDER
