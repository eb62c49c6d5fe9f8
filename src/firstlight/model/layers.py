"""The layers of any network, from its input to its output, for learning rates that decrease toward the input."""

from collections import Counter
from collections.abc import Iterator

from torch import nn

CONTAINERS = (nn.ModuleList, nn.Sequential)
# So many modules of one class, as attributes of one module, are blocks: the Inception modules of GoogLeNet, or the
# steps of a U-Net. Two may be an encoder and a decoder, which contain the blocks.
MIN_CHAIN = 3
# Heads in the middle of a network, which are used in training only.
AUXILIARY = "aux"


def assign_layers(model: nn.Module) -> dict[str, int]:
    """Return the layer of each trainable parameter: 0 at the input, the largest number at the output.

    Frozen parameters do not count: layers in which all parameters are frozen have no number.

    A module with a `group_matcher`, as each network of timm has, defines its layers itself. In any other network:

    - each repeated block is a layer, such as a transformer layer or a residual block (see `find_blocks`),
    - parameters before the first block, and embeddings, are the first layer,
    - parameters after the last block are the last layer,
    - parameters between two blocks belong to the layer of the next block.

    A network without repeated blocks, such as VGG, has one layer per module with a weight matrix.

    Args:
        model: A network, or a module that contains one.
    """
    names = [name for name, param in model.named_parameters() if param.requires_grad]
    matched = list(find_matched_networks(model))
    if matched:
        layers = assign_by_matcher(model, names, matched)
    else:
        blocks = find_blocks(model, count_repeated_classes(model))
        layers = assign_by_blocks(model, names, blocks) if blocks else assign_by_weights(model, names)
    numbers = {layer: number for number, layer in enumerate(sorted(set(layers.values())))}
    return {name: numbers[layers[name]] for name in names}


def find_matched_networks(module: nn.Module, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost modules with trainable parameters and timm's method `group_matcher`."""
    if not any(param.requires_grad for param in module.parameters()):
        return
    if callable(getattr(module, "group_matcher", None)):
        yield path
        return
    for name, child in module.named_children():
        yield from find_matched_networks(child, join(path, name))


def assign_by_matcher(model: nn.Module, names: list[str], paths: list[str]) -> dict[str, int]:
    """Return the layers according to timm's `group_matcher`; the last layer of each network has the number 0.

    Args:
        model: Contains the networks.
        names: Names of the trainable parameters.
        paths: Paths of the networks.
    """
    from timm.models import group_parameters

    layers: dict[str, int] = {}
    for path in paths:
        network = model.get_submodule(path)
        found = group_parameters(network, network.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
        found = {join(path, name): layer for name, layer in found.items() if join(path, name) in names}
        layers |= {name: layer - max(found.values()) for name, layer in found.items()}
    # A head outside the network has a layer of its own; a single number, such as a temperature, does not.
    is_matrix = {name: model.get_parameter(name).ndim > 1 for name in names}
    return {name: layers.get(name, int(is_matrix[name])) for name in names}


def assign_by_blocks(model: nn.Module, names: list[str], blocks: dict[str, str]) -> dict[str, int]:
    """Return the layers of a network with repeated blocks.

    Args:
        model: The network.
        names: Names of its trainable parameters, in its order.
        blocks: See `find_blocks`.
    """
    owners = {name: next((blocks[path] for path in iter_paths(name) if path in blocks), None) for name in names}
    order = {block: number for number, block in enumerate(dict.fromkeys(filter(None, owners.values())), start=1)}
    first, last = 0, len(order) + 1
    layers: dict[str, int] = {}
    following = last
    for name, block in reversed(owners.items()):
        following = order[block] if block else following
        if block is None and any(part.lower().startswith(AUXILIARY) for part in name.split(".")):
            layers[name] = last
        else:
            layers[name] = first if block is None and is_embedding(model, name) else following
    for name, block in owners.items():
        if block is not None:
            break
        layers[name] = first
    return layers


def assign_by_weights(model: nn.Module, names: list[str]) -> dict[str, int]:
    """Return one layer per module with a weight matrix; norms and other vectors belong to the module before them."""
    layers: dict[str, int] = {}
    layer, owner = -1, ""
    for name in names:
        parent = name.rpartition(".")[0]
        if model.get_parameter(name).ndim > 1 and (layer < 0 or parent != owner):
            layer, owner = layer + 1, parent
        layers[name] = 0 if is_embedding(model, name) else max(layer, 0)
    return layers


def find_blocks(module: nn.Module, repeated: set[type], path: str = "") -> dict[str, str]:
    """Return the path of each outermost repeated block, and the name of its layer.

    A block has submodules, and is one of the modules of a ModuleList, one of several modules of a class in Sequentials,
    or one of at least `MIN_CHAIN` attributes of one class. A ModuleList of norms next to a ModuleList of blocks belongs
    to these blocks.

    Args:
        module: Any module.
        repeated: See `count_repeated_classes`.
        path: Its path in the network.
    """
    attributes = Counter(type(child) for child in module.children() if is_composite(child))
    is_chain = not isinstance(module, CONTAINERS) and max(attributes.values(), default=0) >= MIN_CHAIN
    found: dict[str, str] = {}
    for name, child in module.named_children():
        is_repeated = isinstance(module, nn.ModuleList) or (
            isinstance(module, nn.Sequential) and type(child) in repeated
        )
        is_auxiliary = name.lower().startswith(AUXILIARY)
        if is_composite(child) and (is_repeated or is_chain) and not is_auxiliary:
            found[join(path, name)] = join(path, name)
        elif not is_auxiliary:
            found |= find_blocks(child, repeated, join(path, name))
    return found | align_lists(module, path, found)


def align_lists(module: nn.Module, path: str, blocks: dict[str, str]) -> dict[str, str]:
    """Return the layers of the modules in a ModuleList of single layers next to a ModuleList of as many blocks."""
    lists = {name: child for name, child in module.named_children() if isinstance(child, nn.ModuleList)}
    found: dict[str, str] = {}
    for name, items in lists.items():
        if f"{join(path, name)}.0" not in blocks:
            continue
        for other, single in lists.items():
            if len(single) == len(items) and not any(True for item in single for _ in item.children()):
                found |= {f"{join(path, other)}.{index}": f"{join(path, name)}.{index}" for index in range(len(items))}
    return found


def count_repeated_classes(model: nn.Module) -> set[type]:
    """Return the classes of which the Sequentials of a network contain several modules with submodules."""
    counts = Counter(
        type(child)
        for module in model.modules()
        if isinstance(module, nn.Sequential)
        for child in module
        if is_composite(child)
    )
    return {found for found, count in counts.items() if count > 1}


def is_composite(module: nn.Module) -> bool:
    """Return True if a module has parameters and submodules, and is not just a container."""
    has_children = any(True for _ in module.children())
    return has_children and not isinstance(module, CONTAINERS) and any(True for _ in module.parameters())


def is_embedding(model: nn.Module, name: str) -> bool:
    """Return True if a parameter belongs to an embedding, which is read at the input."""
    return isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Embedding)


def iter_paths(name: str) -> Iterator[str]:
    """Yield the paths of the modules that contain a parameter, from the outermost."""
    parts = name.split(".")
    return (".".join(parts[:depth]) for depth in range(1, len(parts)))


def join(path: str, name: str) -> str:
    """Return the path of a submodule."""
    return f"{path}.{name}" if path else name
