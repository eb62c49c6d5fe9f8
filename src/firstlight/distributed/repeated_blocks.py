"""Find the repeated blocks of any network, such as the layers of a transformer or the residual blocks of a ResNet."""

from collections import Counter

from torch import nn

CONTAINERS = (nn.ModuleList, nn.Sequential)


def find_repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the outermost repeated blocks, in the order of the network.

    A block is one of several modules of one class in a ModuleList or Sequential, and has submodules of its own.
    """
    blocks: list[nn.Module] = []
    for child in network.children():
        blocks += [child] if _is_repeated(child, network) else find_repeated_blocks(child)
    return blocks


def find_repeated_layers(network: nn.Module) -> list[nn.Sequential]:
    """Return the outermost Sequentials with several layers of one class that have parameters, such as convolutions.

    They are not part of a repeated block.
    """
    if isinstance(network, nn.Sequential) and not any(_is_repeated(child, network) for child in network):
        counts = Counter(type(child) for child in network if any(True for _ in child.parameters(recurse=False)))
        if any(count > 1 for count in counts.values()):
            return [network]
    children = [child for child in network.children() if not _is_repeated(child, network)]
    return [layers for child in children for layers in find_repeated_layers(child)]


def _is_repeated(child: nn.Module, parent: nn.Module) -> bool:
    """Return True if a child of a container is one of several blocks of its class."""
    if not isinstance(parent, CONTAINERS) or isinstance(child, CONTAINERS) or not any(True for _ in child.children()):
        return False
    return sum(type(other) is type(child) for other in parent) > 1
