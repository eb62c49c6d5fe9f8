"""Tests of the model card: its schema, its facts, and that no text of users is markup."""

import pytest

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: uv pip install -e '.[hub]'")

import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from firstlight.export import hub
from firstlight.export.markdown import escape_markdown, format_code_block
from firstlight.export.model_card import PLACEHOLDER, read_author_section, write_model_card
from firstlight.export.source import ExportSource, InputSpec
from support.runs import HOSTILE, PNG, write_evaluation, write_trained_run
from support.tiny_models import TinyMLP

HOSTILE_TEXTS = [
    HOSTILE,
    "[link](javascript:alert(1))",
    "![image](https://example.invalid/x.png)",
    "a | b\n---\nlicense: mit",
    "`code` ``x`` *bold* <!-- hidden -->",
    "https://example.invalid www.example.invalid @user",
    "- item\n# heading\n\n```\nfence",
    "&lt;b&gt; $x$ ~~y~~ \\",
    "'\"{}: [1, 2] %TAG !!python/object:os.system",
]


def render(text):
    """Return Markdown as HTML. As on the Hub, HTML in it stays HTML."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def make_card(tmp_path, class_names=("cat", "dog"), config=None, repo_id=None, **fields):
    """Export a tiny model of a run, and return the loaded card and its text."""
    checkpoint = write_trained_run(tmp_path / "run", **fields)
    model = TinyMLP(list(class_names), 2).eval().requires_grad_(False)
    inputs = InputSpec(lambda batch_size, length: torch.randn(batch_size, 3, 2, 2), {"images": "pixels"}, {})
    config = {
        "model": {"_target_": "x"},
        "data": {"_target_": "shop.PhotoDataModule", "root": "photos"},
        **(config or {}),
    }
    source = ExportSource(model, inputs, checkpoint, config)
    output_dir = tmp_path / "hub"
    output_dir.mkdir()
    hub.export_model(source, output_dir)
    write_model_card(source, output_dir, output_dir / "README.md", repo_id)
    return ModelCard.load(output_dir / "README.md"), (output_dir / "README.md").read_text(encoding="utf-8")


def test_card_has_the_keys_of_the_hub(tmp_path):
    card, text = make_card(tmp_path, config={"license": "apache-2.0"})
    data = card.data.to_dict()

    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "pytorch"
    assert data["pipeline_tag"] == "image-classification"
    assert data["metrics"] == ["accuracy"]
    index = data["model-index"]
    assert [(entry["name"], len(entry["results"])) for entry in index] == [("run", 1)]
    result = index[0]["results"][0]
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"name": "Photo, root=photos", "type": "photo_root_photos", "split": "test"}
    assert result["metrics"] == [{"type": "accuracy", "value": 0.9, "name": "accuracy"}]
    # The second round trip gives the same card.
    assert str(ModelCard(str(card))) == str(card)
    for fact in (
        "accuracy | 0.9",
        "train 80, val 10, test 15",
        "python -m firstlight.train",
        "torch 2.15.0",
        "1 min 2 s",
    ):
        assert fact in text


def test_card_without_license_says_who_sets_it(tmp_path):
    card, text = make_card(tmp_path)

    assert card.data.license is None
    assert "No license is set.** Ask the author" in text
    assert PLACEHOLDER in text


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_text_of_users_is_markup(text):
    rendered = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| a |\n|---|\n| x {escape_markdown(text)} |")
    )
    cell = rendered.partition("<td>")[2].partition("</td>")[0]

    assert "<" not in cell
    assert rendered.count("<td>") == 1


def test_hostile_names_change_neither_header_nor_body(tmp_path):
    config = {"data": {"_target_": HOSTILE_TEXTS[3], "root": HOSTILE_TEXTS[1]}, "init_from": {"path": HOSTILE_TEXTS[2]}}
    command = "python x ```\n# heading " + HOSTILE
    card, _ = make_card(tmp_path, HOSTILE_TEXTS, config, command=command, precision=HOSTILE)
    rendered = render(card.text)

    assert set(card.data.to_dict()) == {"library_name", "metrics", "pipeline_tag", "tags", "model-index"}
    assert "<script" not in rendered
    assert "<a " not in rendered
    assert "<img" not in rendered
    assert "hidden" in rendered
    assert "<h1>run</h1>" in rendered
    assert rendered.count("<h1>") == 1


def test_code_block_ends_at_its_own_fence():
    block = format_code_block("a\n````\nb", "bash")

    assert block == "`````bash\na\n````\nb\n`````"


def test_secrets_and_the_home_directory_are_not_published(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "abcdef0123456789abcdef")
    monkeypatch.setenv("HOME", "/home/someone")
    command = "python -m firstlight.train data.root=/home/someone/photos x.key=abcdef0123456789abcdef"
    _, text = make_card(tmp_path, command=command)

    assert "data.root=photos" in text
    assert "someone" not in text
    assert "abcdef0123456789abcdef" not in text


def test_plots_and_intervals_are_part_of_the_card(tmp_path):
    directory = tmp_path / "run" / "evaluations" / "2026-11-22_10-00-00"
    checkpoint = write_trained_run(tmp_path / "run")
    write_evaluation(directory, tmp_path / "run", 0.5, intervals={"test/accuracy": [0.4, 0.62]})
    (directory / "confusion_matrix.png").write_bytes(PNG)
    (tmp_path / "run" / "learning_curves.png").write_text("no image")
    model = TinyMLP(["cat", "dog"], 2).eval().requires_grad_(False)
    inputs = InputSpec(lambda batch_size, length: torch.randn(batch_size, 3, 2, 2), {"images": "pixels"}, {})
    source = ExportSource(model, inputs, checkpoint, {"model": {"_target_": "x"}, "data": None})
    output_dir = tmp_path / "hub"
    output_dir.mkdir()
    hub.export_model(source, output_dir)
    write_model_card(source, output_dir, output_dir / "README.md")
    text = (output_dir / "README.md").read_text()

    assert "| accuracy | 0.5 | 0.4 to 0.62 |" in text
    assert "![Confusion matrix](confusion_matrix.png)" in text
    assert (output_dir / "confusion_matrix.png").read_bytes() == PNG
    assert not (output_dir / "learning_curves.png").exists()


def test_section_of_the_author_survives_the_next_export(tmp_path):
    path = tmp_path / "README.md"
    section = "For photos of cats only.\n\n### Limits\n\n- Not at night."
    section += "\n\n```bash\n## prepare\n\tmake data\n```\n\n## Ethics\n\nNone\xa0known."
    path.write_text(f"# run\n\n## Intended use and limitations\n\n{section}\n\n## Data\n\nold\n")

    assert read_author_section(path) == section
    path.write_text("# run\n")
    assert read_author_section(path) == PLACEHOLDER
    assert read_author_section(tmp_path / "none") == PLACEHOLDER


def test_card_names_no_directory_of_this_machine(tmp_path):
    config = {
        "data": {"_target_": "shop.PhotoDataModule", "root": "/mnt/lab/photos"},
        "init_from": {"path": "/scratch/lab/first/best.ckpt"},
    }
    _, text = make_card(tmp_path, config=config, command="python -m x data.root=/mnt/lab/photos")

    assert "root=photos" in text
    assert "best.ckpt" in text
    assert "lab" not in text.replace("label", "").replace("available", "")
    assert str(tmp_path) not in text
