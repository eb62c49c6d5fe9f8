"""Put the emulator under torch: Python runs this file at its start if the folder is on PYTHONPATH."""

import ctypes
import os
import platform
import sys
from importlib.machinery import PathFinder


class WithTorch:
    """Load the emulator at the first `import torch`: it must be there before torch is."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_adapt(module):
            # Not before: who only asks whether torch is installed has not set the memory limits yet.
            sys.meta_path.remove(self)
            ctypes.CDLL(os.environ["MPS_EMULATOR"], mode=ctypes.RTLD_GLOBAL)
            execute(module)
            adapt(module)

        spec.loader.exec_module = execute_and_adapt
        return spec


def adapt(torch):
    """Change the two things that torch settled when it was built without MPS."""

    def to_mps(storage):
        there = torch.empty(storage.nbytes(), dtype=torch.uint8, device="mps").untyped_storage()
        return there.copy_(storage, False)

    torch._C._has_mps = True
    torch.storage._StorageBase.mps = to_mps


if "MPS_EMULATOR" in os.environ:
    sys.meta_path.insert(0, WithTorch())
    # Lightning asks for an arm processor before it asks torch.
    platform.processor = lambda: "arm"
