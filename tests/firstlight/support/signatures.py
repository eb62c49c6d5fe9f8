"""What Python sees of a class once it is imported."""

import inspect
from typing import is_typeddict


def list_fields(kind) -> set[str]:
    return set(kind.__annotations__) if is_typeddict(kind) else set()


def list_parameters(kind) -> set[str]:
    """Return the names of what a class takes, the fields of ``**name: Unpack[Fields]`` included."""
    seen = inspect.signature(kind.__init__).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    taken = {each.name for each in seen if each.kind not in variadic} - {"self"}
    return taken.union(*(list_fields(found) for each in seen for found in getattr(each.annotation, "__args__", ())))
