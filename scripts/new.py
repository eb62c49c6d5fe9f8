"""Begin a model or a data set:  make new model=my_net kind=images  or  make new data=my_set kind=text

Standard library only. Two files are written, which train as they are.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path

from mine import choices, names, tree

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
KINDS = ("images", "text")


def settings(words: list[str]) -> tuple[str, str, str]:
    """Return group, name and kind as typed; the kind may be empty.

    Raises:
        ValueError: something else was typed.
    """
    given = dict(word.partition("=")[::2] for word in words)
    groups = [group for group in choices.GROUPS if given.get(group)]
    for name in given:
        if name not in (*choices.GROUPS, "kind"):
            near = get_close_matches(name, (*choices.GROUPS, "kind"), n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}=?" if near else "type model=my_net or data=my_set"
            raise ValueError(f"`make new` takes model= or data=, and kind=, but {name}= came: {hint}")
    if len(groups) != 1:
        came = "both" if groups else "neither"
        raise ValueError(f"`make new` takes model= or data=, but {came} came: type `make new model=my_net`")
    kind = given.get("kind", "")
    if "kind" in given and kind not in KINDS:
        raise ValueError(f"kind= is images or text, but {kind!r} came: type kind=images, for one")
    return groups[0], given[groups[0]], kind


def require_new(files: tree.Texts, package: str, group: str, name: str) -> None:
    """Refuse a name that is none, or taken.

    Raises:
        ValueError: says which.
    """
    names.require_identifier(f"The name of a {'model' if group == 'model' else 'data set'}", name)
    for path in (f"src/{package}/{group}/{name}.py", f"configs/{group}/{name}.yaml"):
        if path in files or (ROOT / path).exists():
            raise ValueError(f"`make new` writes new files only, but there is {path}: type another name")


def fitting(files: tree.Texts, kind: str) -> str:
    """Return the kind that was typed, or the one that this project reads, images first.

    Raises:
        ValueError: this project lacks what models and data of this kind stand on.
    """
    here = [
        each for each in KINDS if any(kind_of(files, "model", name) == each for name in choices.offered(files, "model"))
    ]
    if kind and kind not in here:
        raise ValueError(
            f"kind={kind} needs what the examples for {kind} brought, but they were left out: type kind={here[0]}"
        )
    return kind or here[0]


def kind_of(files: tree.Texts, group: str, name: str) -> str:
    """Return what a choice reads or yields."""
    return choices.kind(files, choices.target(files, group, name))


def data_for(files: tree.Texts, kind: str) -> tuple[str, str]:
    """Return the data set that is trained on when none is typed, and the first one of a kind, real ones first."""
    default = choices.default(files, "data")
    known = sorted(choices.offered(files, "data"), key=lambda name: (name != default, name.startswith("fake_"), name))
    return default, next(name for name in known if kind_of(files, "data", name) == kind)


def new(words: list[str]) -> str:
    """Write the two files, and return what to do next.

    Raises:
        ValueError: what was typed is refused; nothing was written.
    """
    group, name, kind = settings(words)
    files = tree.present(ROOT)
    package = tree.package_of(list(files))
    require_new(files, package, group, name)
    kind = fitting(files, kind)
    default, data = data_for(files, kind)
    first = next(each for each in choices.offered(files, "model") if kind_of(files, "model", each) == kind)
    model = choices.default(files, "model")
    model = model if kind_of(files, "model", model) == kind else first
    defaults = f"defaults:\n  - override /data: {data}\n\n" if data != default else ""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    swaps = {"PACKAGE": package, "MyChoice": class_name, "my_choice": name, "DEFAULTS": defaults}
    paths = {f"src/{package}/{group}/{name}.py": ".txt", f"configs/{group}/{name}.yaml": ".yaml.txt"}
    for path, suffix in paths.items():
        text = (TEMPLATES / f"{group}_{kind}{suffix}").read_text(encoding="utf-8")
        for old, instead in swaps.items():
            text = text.replace(old, instead)
        (ROOT / path).write_text(text, encoding="utf-8")
    word = f"model={name} data=fake_{kind}" if group == "model" else f"model={model} data={name}"
    return "\n".join(
        [*(f"new: wrote {path}" for path in paths), f"new: try it by `make train {word}`, then by `make test`"]
    )


if __name__ == "__main__":
    try:
        print(new(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"new: {error}")
