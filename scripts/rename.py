"""Give the project its own name, and leave out examples:  make mine name=my_project keep=resnet50,digits

Standard library only. All edits are made in memory, and written when there was no error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

from mine import names, tree

ROOT = Path(__file__).resolve().parents[1]
# Measurements of the examples on their authors' machines.
MEASURED = "docs/measured/"
LINE = 120
PLACEHOLDER = "What this project trains, on which data, and how well: fill in one sentence."


def settings(words: list[str]) -> dict[str, str]:
    """Return what was typed, by name.

    Raises:
        ValueError: a word is none of name=, keep= and force=.
    """
    given = dict(word.partition("=")[::2] for word in words)
    for name, value in given.items():
        if name not in ("name", "keep", "force") or not value:
            typed = f"{name}={value}" if value else name
            raise ValueError(f"`make mine` takes name=my_project keep=<models,data> force=true, but {typed} came")
    if "name" not in given and "keep" not in given:
        raise ValueError("`make mine` needs the project's name, but none came: type `make mine name=my_project`")
    return given


def renamed(text: str, old: str, new: str) -> str:
    """Return a text with the name replaced, in whatever case and with whatever dash it stands there."""

    def fitting(found: re.Match[str]) -> str:
        word = found.group()
        name = new.replace("_", "-") if "-" in word else new
        return name.upper() if word.isupper() else name.title() if word[0].isupper() else name

    # What stands in columns stays there.
    columns = re.compile(rf"({names.pattern(old).pattern})([\w/.]*)(   +)", re.IGNORECASE)
    less = len(old) - len(new)
    text = columns.sub(lambda found: found[1] + found[2] + " " * max(2, len(found[3]) + less), text)
    return names.pattern(old).sub(fitting, text)


def licensed(text: str, old: str, new: str) -> str:
    """Return the licence with the new project as a further holder: MIT asks to keep the line of the first."""
    holders = re.findall(r"^Copyright .*$", text, re.MULTILINE)
    if len(holders) != 1 or not names.pattern(old).search(holders[0]):
        return renamed(text, old, new)
    added = renamed(re.sub(r"\d{4}", str(date.today().year), holders[0]), old, new)
    return text.replace(holders[0], f"{holders[0]}\n{added}")


def is_template(files: tree.Texts, package: str) -> bool:
    """Say whether nobody has made this project theirs: its licence then names itself alone."""
    holders = re.findall(r"^Copyright .*$", files.get("LICENSE", ""), re.MULTILINE)
    return len(holders) == 1 and bool(names.pattern(package).search(holders[0]))


def head(text: str, name: str) -> str:
    """Return README under a title and a sentence of its own, in place of what told of the template."""
    begin = re.search(r"^(```|## |\| )", text, re.MULTILINE)
    rest = text[begin.start() :] if begin else ""
    return f"# {name}\n\n{PLACEHOLDER}\n\n{rest}"


def begun(files: tree.Texts, name: str) -> tree.Texts:
    """Return the files with the marks of a project that begins: its README's head, version, description, changelog."""
    project = re.sub(r'^version = ".*"', 'version = "0.1.0"', files["pyproject.toml"], count=1, flags=re.MULTILINE)
    project = re.sub(r'^description = ".*"', f'description = "{PLACEHOLDER}"', project, count=1, flags=re.MULTILINE)
    changes = "# Changelog\n\n## 0.1.0\n\nThe project begins.\n"
    readme = head(files["README.md"], name)
    edited = {"pyproject.toml": project, "README.md": readme, "CHANGELOG.md": changes}
    if "docs/index.md" in files:
        told = re.sub(r"\A(# .*\n\n)[^\n]*\btemplate\b[^\n]*\n", rf"\1{PLACEHOLDER}\n", files["docs/index.md"])
        edited["docs/index.md"] = told
    return {**files, **edited}


def roomy(text: str, name: str, sources: list[str]) -> str:
    """Return pyproject.toml with room for comments that the new name made too long, which ruff cannot break."""
    lines = [line for source in sources for line in source.splitlines() if name in line]
    longest = max(map(len, lines), default=0)
    if longest <= LINE or "max-line-length" in text:
        return text
    room = f"[tool.ruff.lint.pycodestyle]\nmax-line-length = {longest}  # of comments with the project's name\n\n"
    return text.replace("[tool.ruff.lint.isort]", f"{room}[tool.ruff.lint.isort]", 1)


def planned(files: tree.Texts, old: str, new: str, keep: list[str]) -> tree.Texts:
    """Return the files as they shall be, still under their old paths."""
    from mine import prune

    after = prune.without(files, old, keep, [MEASURED] if is_template(files, old) else [])
    if is_template(files, old) and old != new:
        after = begun(after, old)
    if old == new:
        return after
    named = {path: (licensed if path == "LICENSE" else renamed)(text, old, new) for path, text in after.items()}
    sources = [text for path, text in named.items() if path.endswith(".py")]
    return {**named, "pyproject.toml": roomy(named["pyproject.toml"], new, sources)}


def mine(root: Path, words: list[str]) -> str:
    """Edit the tree, and return what to do next.

    Raises:
        ValueError: what was typed is refused; nothing was touched.
    """
    given = settings(words)
    before = tree.texts(root)
    old = tree.package_of(list(before))
    new = given.get("name", old)
    if "name" in given:
        names.require_free(new, old, before)
    if given.get("force") != "true":
        tree.require_clean(root)
    after = planned(before, old, new, [each for each in given.get("keep", "").split(",") if each])
    gone = {path for path in before if path not in after}
    if is_template(before, old):
        gone |= {path for path in tree.paths(root) if path.startswith(MEASURED)}
    moves = {path: renamed(path, old, new) for path in tree.paths(root) if path not in gone}
    moves = {path: to for path, to in moves.items() if path != to}
    tree.write(root, before, {renamed(path, old, new): text for path, text in after.items()}, gone, moves)
    tidied(root)
    return farewell(new)


def tidied(root: Path) -> None:
    """Break and join lines for the length of the new name, if ruff is there; else `make fix` does it."""
    for words in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *words, "."], cwd=root, capture_output=True)


def farewell(name: str) -> str:
    """Return what to do next."""
    return "\n".join(
        [
            f"mine: this is {name} now; what to do next:",
            "  make fix check test     install under the new name, and see that all is well",
            "  README.md               say in its first lines what the project is for",
            "  make new model=my_net   begin a model of your own; make new data=my_set a data set",
            "  git add -A && git commit -m 'Begin'",
        ]
    )


def newer_python(root: Path) -> None:
    """Go on in a newer Python, where this one cannot read the sources."""
    if sys.version_info >= (3, 11):
        return
    found = subprocess.run(["sh", "scripts/find_python.sh"], cwd=root, capture_output=True, text=True).stdout.strip()
    if not found:
        raise ValueError("keep= reads the sources, which takes Python 3.11 or newer: type `make setup` first")
    os.execv(found, [found, *sys.argv])


if __name__ == "__main__":
    try:
        if any(word.startswith("keep=") for word in sys.argv[1:]):
            newer_python(ROOT)
        print(mine(ROOT, sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"mine: {error}")
