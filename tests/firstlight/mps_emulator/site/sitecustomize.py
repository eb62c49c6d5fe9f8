"""Load the emulator together with torch: Python runs this file at startup if its directory is on PYTHONPATH."""

import ctypes
import os
import platform
import sys
from importlib.machinery import PathFinder


class EmulatorFinder:
    """Load the emulator at the first `import torch`, just before torch itself."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_adapt(module):
            # Not in find_spec: a program that only checks whether torch is installed may set the memory limits later.
            sys.meta_path.remove(self)
            ctypes.CDLL(os.environ["MPS_EMULATOR"], mode=ctypes.RTLD_GLOBAL)
            execute(module)
            adapt(module)

        spec.loader.exec_module = execute_and_adapt
        return spec


def adapt(torch):
    """Change the two properties that torch fixed when it was built without MPS."""

    def to_mps(storage):
        target = torch.empty(storage.nbytes(), dtype=torch.uint8, device="mps").untyped_storage()
        return target.copy_(storage, False)

    torch._C._has_mps = True
    torch.storage._StorageBase.mps = to_mps


if "MPS_EMULATOR" in os.environ:
    sys.meta_path.insert(0, EmulatorFinder())
    # Lightning checks for an ARM processor before it asks torch.
    platform.processor = lambda: "arm"
