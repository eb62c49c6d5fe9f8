"""Commands in pages, help and comments: name what stays, or go. Standard library only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mine import choices

if TYPE_CHECKING:
    from mine.prose import Prose
    from mine.prune import Gone

TYPED = re.compile(r"\b(model|data|experiment|models|keep)=(\[[\w, ]+\]|\w+(?:,\w+)*)")


def retyped(text: str, gone: Gone) -> str:
    """Return a text whose model=, data= and keep= name what stays."""

    def instead(found: re.Match[str]) -> str:
        value = found.group(2).replace(" ", "")
        word = gone.word(found.group(1), value)
        return found.group() if word in (value, "") else f"{found.group(1)}={word}"

    # What a command reads is of the kind that is left.
    if gone.names() and not any(gone.keep.kinds[name] == "images" for name in gone.keep.stay["model"]):
        text = text.replace("input=photos/", "input=texts.csv")
    return TYPED.sub(instead, text)


def works(command: str, prose: Prose) -> bool:
    """Say whether a command's settings exist, and whether a sweep has more than one job."""
    typed = dict(re.findall(r"(?<![\w.])(model|data|experiment)=(\w+)", command))
    keep = prose.gone.keep
    if typed.get("experiment") in prose.gone.choices["experiment"]:
        return False
    model = typed.get("model", keep.stay["model"][0])
    if model not in keep.stay["model"]:
        return True  # a placeholder
    data = typed.get("data", keep.data_of(keep.kinds[model]))
    if data not in keep.stay["data"]:
        return True
    for group, name in (("model", model), ("data", data)):
        settings = re.findall(rf"(?<![\w.]){group}\.(\w+)=", command)
        if set(settings) - choices.keys(prose.files, group, name):
            return False
    if "make sweep" in command and not re.search(r"=[^=\s]*,|interval\(|experiment=|sweeper", command):
        return False
    return keep.kinds[model] == keep.kinds[data]


def own_settings(command: str, told: str, prose: Prose) -> bool:
    """Say whether a command sets what only some data sets have, and those were meant for one that goes."""
    name = re.compile(r"(?<![\w.])data=(\w+)")
    before, after = name.search(command), name.search(told)
    if not before or not after or before.group(1) == after.group(1) or after.group(1) not in prose.gone.keep.kinds:
        return False
    keep = prose.gone.keep
    same = [each for each in keep.stay["data"] if keep.kinds[each] == keep.kinds[after.group(1)]]
    common = set.intersection(*(choices.keys(prose.files, "data", each) for each in same))
    return bool(set(re.findall(r"(?<![\w.])data\.(\w+)=", command)) - common)


def about(section: str, prose: Prose) -> bool:
    """Say whether all commands of a section use a data set that is gone."""
    lines = re.findall(r"^\s*make (?:train|sweep|preflight) .*", section, re.MULTILINE)
    gone = prose.gone.choices["data"]
    return bool(lines) and all(set(re.findall(r"(?<![\w.])data=(\w+)", line)) & gone for line in lines)


def fenced(block: str, prose: Prose) -> str:
    """Return a block of code without the lines that go; nothing if no line is left."""
    lines = block.splitlines()
    body = lines[1:-1]
    if re.match(r"\s*```(python|yaml)", lines[0]):
        return "" if other_kind(block, prose) or prose.hit(retyped(block, prose.gone)) else retyped(block, prose.gone)
    if any(line.startswith("$ ") for line in body):
        return session(block, prose)
    if lines[0].strip() == "```text":
        entries = "\n".join(body).split("\n\n")
        live = "\n\n".join(each for each in entries if not prose.hit(each) and not prose.unsaid(each)).splitlines()
    else:
        live = [told for line in body for told in [line_of(line, prose)] if told is not None]
    unique = [
        line for number, line in enumerate(live) if not line.strip() or bare(line) not in map(bare, live[:number])
    ]
    if not any(line.strip() for line in unique):
        return ""
    return "\n".join([lines[0], *unique, lines[-1]])


def session(block: str, prose: Prose) -> str:
    """Return what was typed and answered, without the pairs that tell of what is gone."""
    first, *body, last = block.splitlines(keepends=True)
    pairs = re.split(r"(?m)^(?=\$ )", "".join(body))
    live = [each for each in pairs if not prose.hit(each)]
    return "".join([first, *live, last]) if any(each.strip() for each in live) else ""


def other_kind(block: str, prose: Prose) -> bool:
    """Say whether an example of a class reads what no kept model does."""
    path = re.search(r"^# (?:src|configs)/[\w/]*?(\w+)\.\w+$", block, re.MULTILINE)
    if path and path.group(1) in prose.gone.choices["model"]:
        return True
    if not prose.gone.names():
        return False
    found = re.search(r"\b(?:reads|yields)\b[^=\n]*= *\"(\w+)\"", block)
    kinds = {prose.gone.keep.kinds[name] for name in prose.gone.keep.stay["model"]}
    return bool(found and found.group(1) not in kinds)


def bare(line: str) -> str:
    """Return a line without its comment."""
    return re.split(r"\s{2,}#|\s# ", line)[0].strip()


def line_of(line: str, prose: Prose) -> str | None:
    """Return a line of a block with what stays, or nothing."""
    found = re.match(r"(.*?\S)(\s{2,}#?\s*|\s# )(\S.*)$", line)
    command, gap, comment = found.groups() if found else (line, "", "")
    told = retyped(command, prose.gone)
    if prose.gone.other_recipe(command, told):
        return None
    if own_settings(command, told, prose):
        return None
    if told != command and bare(told) == f"make train model={choices.default(prose.files, 'model')}":
        return None  # which `make train` does
    is_command = bool(re.match(r"\s*(make|python|torchrun|srun|\.venv)\b", command))
    if is_command and prose.gone.names() and not works(told, prose):
        return None
    if prose.hit(told):
        return None
    if comment and (prose.hit(comment) or (prose.other_default and bare(told) == "make train")):
        keep = prose.gone.keep
        model = keep.stay["model"][0]
        comment = f"{model} on {keep.data_of(keep.kinds[model])}" if bare(told) == "make train" else ""
    if told == command and found and comment == found.group(3):
        return line
    if not comment:
        return told
    mark = gap.lstrip(" ")
    gap = " " * max(2, len(command) + len(gap) - len(mark) - len(told)) + mark
    return told + gap + comment


def row(line: str, prose: Prose) -> str | None:
    """Return a row of a table of commands with what stays, or nothing."""
    _, command, comment, _ = re.split(r"(?<!\\)\|", line)
    if prose.gone.names() and "make mine" in command:
        return None  # done
    told = line_of(f"{command.strip().strip('`')}  # {comment.strip()}", prose)
    if told is None:
        return None
    command, _, comment = told.partition("  # ")
    return f"| `{command.strip()}` | {comment.strip()} |" if comment else None


def helped(text: str, prose: Prose) -> str:
    """Return the list of commands with what stays; a line that is indented belongs to the one before."""
    entries = re.split(r"\n(?=\S|\n)", text)
    live = []
    for entry in entries:
        lines = entry.split("\n")
        first = line_of(lines[0], prose) if lines[0].startswith("make ") else retyped(lines[0], prose.gone)
        if first is None or any(prose.hit(line) for line in lines[1:]):
            continue
        live.append("\n".join([first, *lines[1:]]))
    return "\n".join(live)
