"""Any text of a user can be plotted, printed, written to CSV, used as a file name, and passed back to a command."""

import csv
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib import cbook
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from firstlight.callbacks.confusion_matrix import plot_confusion_matrix
from firstlight.callbacks.label_scores import plot_label_scores
from firstlight.callbacks.predicted_vs_true import plot_predicted_vs_true
from firstlight.run.text import (
    FORMULA_STARTS,
    MAX_CELL_LENGTH,
    MAX_PLOT_LENGTH,
    format_command,
    format_csv,
    format_override,
    format_plot_text,
    format_printable,
    format_table_cell,
    unquote_hydra,
)
from firstlight.sweep.results import print_results, write_results_and_plots
from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import make

# Bytes that are not UTF-8, as Python decodes them in file names.
UNDECODED = st.characters(categories=["Cs"], min_codepoint=0xDC80, max_codepoint=0xDCFF)
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | UNDECODED | st.sampled_from("$_=+-@\\'\"[]{}(),~#%&;|\t\n"))
PATHS = TEXT.filter(lambda text: "\0" not in text)


@given(TEXT)
@example("A$ & B$")
@example(r"$_^$ \$x$")
@example("_hidden")
@example("caf\udce9")
def test_plot_text_is_neither_mathtext_nor_hidden_and_short(text):
    shown = format_plot_text(text)

    assert not cbook.is_math_text(shown)
    assert not shown.startswith("_")
    assert len(shown.replace(r"\$", "$")) <= MAX_PLOT_LENGTH + 1
    assert shown.isprintable()


@settings(max_examples=5, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_any_text_is_drawn(texts):
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    for text in texts:
        axes.plot([0, 1], label=format_plot_text(text))
    axes.set_title(format_plot_text(texts[0]))
    axes.legend()
    figure.savefig(io.BytesIO(), dpi=20)

    assert len(axes.get_legend().get_texts()) == len(texts)


def test_plot_text_of_ordinary_name_is_unchanged():
    assert format_plot_text("Bär (brown), No. 5") == "Bär (brown), No. 5"
    assert format_plot_text("A$B") == r"A\$B"  # drawn as A$B
    assert format_plot_text("a" * 30 + "b" * 30) == "a" * 15 + "…" + "b" * 16


def test_printable_text_escapes_control_characters_and_undecoded_bytes():
    assert format_printable("a\x1b[31m\ncaf\udce9 日本") == r"a\x1b[31m\ncaf\xe9 日本"


@given(st.lists(st.lists(TEXT | st.floats(allow_nan=False) | st.integers(), min_size=1, max_size=3), min_size=1))
@example([["=cmd|' /C calc'!A0", "+1+2", "-2+3", "@x", "\tx", " =x", "-0.5", "+1e-3", "caf\udce9"]])
def test_no_csv_cell_is_a_formula(rows):
    text = format_csv(rows)
    text.encode()
    read = list(csv.reader(io.StringIO(text, newline="")))

    assert [len(row) for row in read] == [len(row) for row in rows]
    for cell in [cell for row in read for cell in row if cell.lstrip(" ").startswith(FORMULA_STARTS)]:
        float(cell)


def test_csv_keeps_numbers_and_ordinary_text():
    rows = [["id", "class", "value"], ["a-b.png", 'No. 1, "x"', -0.5], ["caf\udce9.png", "=1", "-2"]]

    assert format_csv(rows) == 'id,class,value\r\na-b.png,"No. 1, ""x""",-0.5\r\ncaf\\xe9.png,\'=1,-2\r\n'


@given(TEXT)
@example("[/red]")
@example("[bold]x[/bold]\\")
def test_table_cell_is_shown_as_it_is(text):
    table = Table("x")
    table.add_row(format_table_cell(text))
    console = Console(width=500, file=io.StringIO())
    console.print(table)

    assert format_printable(text, MAX_CELL_LENGTH).strip() in console.file.getvalue()


@given(PATHS)
@example("/data/a (b)/[c],{d}")
@example("~/x")
@example("null")
@example("1e3")
@example("")
@example("it's \\'")
@example("\\")
def test_override_has_the_value_for_hydra_and_for_us(text):
    if "${" in text:
        return  # an interpolation
    override = format_override("data.root", text)

    assert OverridesParser.create().parse_override(override).value() == text
    assert unquote_hydra(override.partition("=")[2]) == text


@given(st.lists(PATHS, min_size=1, max_size=3))
def test_command_is_split_into_the_same_words(words):
    command = format_command("make", *words)

    assert command.isprintable()
    if "$'" not in command:
        assert shlex.split(command) == ["make", *words]


PASTED = [
    "/runs/a b",
    "it's",
    "$(touch mark)",
    "`touch mark`",
    'a"b',
    "x;touch mark",
    "~/x",
    "ü日本",
    "caf\udce9",
    "a\nb",
    "!x",
]


def test_pasted_command_gives_the_same_words_in_bash(tmp_path):
    command = format_command(
        sys.executable, "-c", "import os, sys; print(list(map(os.fsencode, sys.argv[1:])))", *PASTED
    )
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)

    assert result.stdout == f"{list(map(os.fsencode, PASTED))}\n", result.stderr
    assert list(tmp_path.iterdir()) == []


def test_pasted_make_command_gives_the_same_override(tmp_path):
    Path(tmp_path / "Makefile").write_text(
        f"train:\n\t@{sys.executable} -c \"import os; print(os.fsencode(os.environ['MAKEFLAGS']))\"\n"
    )
    for text in PASTED:
        override = format_override("data.root", text)
        command = format_command("make", "-C", str(tmp_path), "--no-print-directory", "train", override)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment)
        flags = os.fsdecode(eval(result.stdout))

        assert make.parse_makeflags(flags) == [override]
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_undecoded_bytes_are_printed(stream):
    code = "import sys\nfrom firstlight.cli.console import suppress_library_noise\nsuppress_library_noise()\n"
    code += f"print('caf\\udce9', file=sys.{stream})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.stdout + result.stderr == "caf\\udce9\n"


CLASS_NAMES = ["A$ & B$", "$_^$", "_hidden", "caf\udce9", "=cmd|' /C calc'!A0", "x" * 5000, "日本", "a\nb\x1b[31m"]


def test_class_names_of_any_text_are_plotted(tmp_path):
    path = tmp_path / "plot.png"
    plot_confusion_matrix(torch.eye(len(CLASS_NAMES)), CLASS_NAMES, path)
    plot_label_scores([{"name": n, "f1": 0.5, "average_precision": 0.1, "support": 1} for n in CLASS_NAMES], path)
    plot_predicted_vs_true({"target_name": CLASS_NAMES[1], "true": [0.0, 1.0], "predicted": [0.1, 0.9]}, path)
    with Image.open(path) as image:
        assert max(image.size) < 3000


def test_long_values_of_sweep_are_shortened_on_plot_and_in_table(tmp_path, capsys):
    rows = [
        {
            "data.path": f"[/red] $x {name}",
            "status": "finished",
            "test/accuracy": 0.5,
            "reason": "",
            "run_dir": str(index),
        }
        for index, name in enumerate(CLASS_NAMES)
    ]
    write_results_and_plots(tmp_path, rows)
    print_results(tmp_path, rows)

    with Image.open(tmp_path / "results.png") as image:
        assert max(image.size) < 3000
    assert "[/red] $x A$ & B$" in capsys.readouterr().out
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["data.path"] for row in csv.DictReader(file)][5] == f"[/red] $x {CLASS_NAMES[5]}"
