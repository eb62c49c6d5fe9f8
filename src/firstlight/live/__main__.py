"""Show runs and sweeps while they run, on a local web page:  python -m firstlight.live runs=logs"""

import webbrowser
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.run.errors import MissingPackageError, missing_package
from firstlight.run.json_output import update_result
from firstlight.run.packages import is_installed
from firstlight.run_data.search_dirs import validate_search_dirs
from firstlight.web.listen import HOST, bind_socket, has_browser, raise_open_file_limit, validate_browser


@command("live")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Serve the page until the command is stopped, and return its address."""
    run_dirs = validate_search_dirs(cfg.runs)
    validate_browser(cfg)
    for package in ("starlette", "uvicorn"):
        if not is_installed(package):
            raise MissingPackageError(missing_package("make live", package, "live"))
    listener = bind_socket(cfg.port)
    # Imported after the checks, so that errors in the arguments are reported immediately.
    from firstlight.live.serve import serve

    address = f"http://{HOST}:{listener.getsockname()[1]}"
    print(f"Live page of {', '.join(map(str, run_dirs))}: {address} (stop with Ctrl-C)", flush=True)
    if cfg.open_browser and has_browser():
        webbrowser.open(address)
    raise_open_file_limit()
    result = {"address": address, "runs": [str(run_dir) for run_dir in run_dirs]}
    update_result(**result)  # The signal that ends the server also ends this command.
    serve(run_dirs, listener)
    return result


if __name__ == "__main__":
    main()
