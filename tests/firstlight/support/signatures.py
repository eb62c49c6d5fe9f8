"""The constructor arguments of an imported class, for comparison with the config schema."""

import inspect
from typing import is_typeddict


def list_fields(annotation) -> set[str]:
    """Return the keys of a TypedDict, or an empty set for any other annotation."""
    return set(annotation.__annotations__) if is_typeddict(annotation) else set()


def list_parameters(cls) -> set[str]:
    """Return the names of the constructor arguments, including the keys of ``**kwargs: Unpack[Fields]``."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = {parameter.name for parameter in parameters if parameter.kind not in variadic} - {"self"}
    annotations = [arg for parameter in parameters for arg in getattr(parameter.annotation, "__args__", ())]
    return names.union(*map(list_fields, annotations))
