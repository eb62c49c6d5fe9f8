"""Try a trained model on a local web page:  python -m firstlight.demo run=logs/train/<run>"""

import webbrowser
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import MissingPackageError, missing_package
from firstlight.run.json_output import update_result
from firstlight.run.packages import is_installed
from firstlight.web.listen import HOST, bind_socket, has_browser, validate_browser


@command("demo")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Serve the page until the command is stopped, and return its address and the checkpoint."""
    validate_config(cfg)
    validate_browser(cfg)
    for package in ("starlette", "uvicorn"):
        if not is_installed(package):
            raise MissingPackageError(missing_package("make demo", package, "live"))
    from firstlight.build import build
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.demo.predictor import Predictor
    from firstlight.demo.serve import serve
    from firstlight.run.containment import find_run_dir

    checkpoint = resolve_checkpoint(cfg)
    with bind_socket(cfg.port) as listener:
        predictor = Predictor(*build(cfg, checkpoint, read_data=False), checkpoint=Path(checkpoint).name)
        name = find_run_dir(Path(checkpoint)).resolve().name
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        print(f"Demo of {name}: {address} (stop with Ctrl-C)", flush=True)
        if cfg.open_browser and has_browser():
            webbrowser.open(address)
        result = {"address": address, "checkpoint": checkpoint}
        update_result(**result)  # The signal that ends the server also ends this command.
        serve(predictor, name, listener)
    return result


if __name__ == "__main__":
    main()
