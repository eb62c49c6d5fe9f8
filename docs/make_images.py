"""Make the screenshots and plots of README.md and docs/ from real runs.

Run ``python docs/make_images.py`` with the project's Python. The runs are made offline in a temporary directory, and
images in docs/images/ are replaced. This takes about 7 minutes on two idle CPU cores.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

from PIL import Image, ImageChops

IMAGES_DIR = Path(__file__).resolve().parent / "images"
# The commands that the pages name next to the images.
PREFLIGHT = ("preflight", "model=bert", "data.batch_size=64")
SWEEP = ("sweep", "model=resnet50,vgg16", "data.batch_size=16,32")
BATCH_SIZE_SWEEP = ("sweep", "experiment=batch_size_sweep", "model=resnet50,vgg16")

# Sections of the report page, by the name of the screenshot.
SECTIONS = {"report": ("runs", "curves"), "report-run": ("run",)}
# Parts of a section that are as large as the rest of it.
HIDDEN_PARTS = "h3:has(+ #samples-remark), #samples-remark, #samples, #first-batch"

SCALE = 2  # device pixels per CSS pixel, for high-density screens
WINDOW = (1280, 2400)  # CSS pixels; the space that a page leaves empty is cropped
LIVE_WINDOW = (1280, 1030)  # the first two sections of the page
# `prefers-color-scheme` in Chromium's settings, which --force-dark-mode does not change.
COLOR_SCHEMES = {"dark": 0, "light": 1}
TERMINAL_STYLE = """<!DOCTYPE html>
<meta charset="utf-8">
<style>
:root { --text: #1f2328; --ground: #f6f8fa; --line: #d1d9e0; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --ground: #161b22; --line: #3d444d; } }
body { margin: 0; }
main { width: max-content; border: 1px solid var(--line); border-radius: 8px; background: var(--ground); }
h1 { margin: 0; padding: 8px 18px; border-bottom: 1px solid var(--line); }
h1, pre { font: 14px/1.45 "DejaVu Sans Mono", "Liberation Mono", monospace; color: var(--text); }
pre { margin: 0; padding: 14px 18px; }
</style>
"""


def start_command(directory: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command of the project as ``make`` does.

    Args:
        directory: Working directory, below which the command writes its run directories.
        *words: Name of the command and its overrides.
    """
    print("make", *words, flush=True)
    directory.mkdir(exist_ok=True)
    # Without a W&B API key, as right after `make setup`.
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.Popen(
        [sys.executable, "-m", f"firstlight.{words[0]}", *words[1:]],
        cwd=directory,
        env={**env, "NETRC": os.devnull},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_command(directory: Path, *words: str) -> str:
    """Run a command of the project, see ``start_command``, and return its output."""
    process = start_command(directory, *words)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{output}\n`make {' '.join(words)}` failed with exit code {process.returncode}.")
    return output


def take_screenshot(html: str, scheme: str) -> Image.Image:
    """Return a screenshot of a page, cropped to its content.

    Args:
        html: The page.
        scheme: "light" or "dark".
    """
    with tempfile.TemporaryDirectory() as directory:
        page_path = Path(directory) / "page.html"
        page_path.write_text(html, encoding="utf-8")
        # Milliseconds of the page's clock, which does not wait for the real one.
        return crop(capture(page_path.as_uri(), scheme, WINDOW, "--virtual-time-budget=10000"))


def capture(address: str, scheme: str, window: tuple[int, int], wait_option: str) -> Image.Image:
    """Return a screenshot of a page.

    Args:
        address: URL of the page.
        scheme: "light" or "dark".
        window: Width and height in CSS pixels.
        wait_option: Option of Chromium that says how long to wait for the page.
    """
    with tempfile.TemporaryDirectory() as directory:
        image_path = Path(directory) / "page.png"
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={directory}/profile", "--default-background-color=00000000"]
        command += [f"--window-size={window[0]},{window[1]}", f"--force-device-scale-factor={SCALE}"]
        command += [f"--blink-settings=preferredColorScheme={COLOR_SCHEMES[scheme]}"]
        command += [wait_option, f"--screenshot={image_path}", address]
        done = subprocess.run(command, capture_output=True, text=True)
        if not image_path.is_file():
            sys.exit(f"{done.stderr}\nchromium wrote no screenshot (exit code {done.returncode}).")
        with Image.open(image_path) as image:
            return image.convert("RGBA")


def crop(image: Image.Image) -> Image.Image:
    """Return an image without its empty space at the right and bottom, where a margin as wide as the left one stays."""
    background = Image.new(image.mode, image.size, image.getpixel((image.width - 1, image.height - 1)))
    box = ImageChops.difference(image, background).getbbox(alpha_only=False)
    left, _, right, bottom = box or (0, 0, *image.size)
    return image.crop((0, 0, min(right + left, image.width), min(bottom + left, image.height)))


def write_image(image: Image.Image, name: str) -> None:
    """Write an image to docs/images/ as a PNG with a palette of 256 colors, which is less than half as large."""
    method = Image.Quantize.FASTOCTREE if image.mode == "RGBA" else Image.Quantize.MEDIANCUT
    path = IMAGES_DIR / f"{name}.png"
    image.quantize(256, method, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {image.width} x {image.height} pixels, {path.stat().st_size / 1000:.0f} kB", flush=True)


def write_plot(directory: Path, pattern: str, name: str) -> None:
    """Write the one plot that a glob pattern finds below a directory to docs/images/."""
    (path,) = directory.glob(pattern)
    with Image.open(path) as image:
        write_image(image.convert("RGB"), name)


def write_terminal(output: str, title: str, name: str) -> None:
    """Write a command's output as it looks in a terminal to docs/images/, in both color schemes.

    Args:
        output: What the command printed.
        title: Title of the terminal's window.
        name: File name without ``-light.png`` or ``-dark.png``.
    """
    text = "\n".join(line.rstrip() for line in output.strip("\n").splitlines())
    page = f"{TERMINAL_STYLE}<main><h1>{escape(title)}</h1><pre>{escape(text)}</pre></main>"
    for scheme in COLOR_SCHEMES:
        write_image(take_screenshot(page, scheme), f"{name}-{scheme}")


def write_report(page: str, name: str) -> None:
    """Write some sections of the report page to docs/images/, in both color schemes.

    Args:
        page: HTML of the report page.
        name: File name without ``-light.png`` or ``-dark.png``, a key of ``SECTIONS``.
    """
    for section in SECTIONS[name]:
        if f'<section id="{section}"' not in page:
            sys.exit(f"The report page has no section {section!r}. Edit SECTIONS in docs/make_images.py.")
    shown = ", ".join(f"#{section}" for section in SECTIONS[name])
    style = f"main > section:not({shown}), {HIDDEN_PARTS} {{ display: none !important; }}"
    html = page.replace("</style>", f"{style}</style>", 1)
    for scheme in COLOR_SCHEMES:
        write_image(take_screenshot(html, scheme).convert("RGB"), f"{name}-{scheme}")


def write_live(sweep: subprocess.Popen[str], directory: Path, num_finished: int) -> None:
    """Write the page of ``make live`` to docs/images/, in both color schemes, while a sweep runs.

    Args:
        sweep: The sweep.
        directory: Its working directory.
        num_finished: Number of finished runs at which the screenshots are taken.
    """
    server = start_command(directory, "live", "open_browser=false")
    address = next(word for word in (server.stdout or sys.stdin).readline().split() if word.startswith("http://"))
    while sweep.poll() is None:
        statuses = [json.loads(path.read_text())["status"] for path in directory.glob("logs/sweep/*/*/run.json")]
        # A run that has just begun has no curve yet.
        num_curves = len(list(directory.glob("logs/sweep/*/*/metrics.csv")))
        if statuses.count("finished") >= num_finished and num_curves > num_finished:
            break
        time.sleep(1)
    for scheme in COLOR_SCHEMES:
        write_image(capture(address, scheme, LIVE_WINDOW, "--timeout=8000").convert("RGB"), f"live-{scheme}")
    server.terminate()
    server.wait()


def main() -> None:
    """Make the runs and the images."""
    if shutil.which("chromium") is None:
        sys.exit("The program 'chromium' is missing. Install it with: apt-get install chromium")
    IMAGES_DIR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        # The report shows the runs of `report_dir` only.
        train_dir, report_dir, batch_sizes_dir = (Path(directory) / name for name in ("train", "report", "batch_sizes"))
        write_terminal(run_command(train_dir, *PREFLIGHT), f"make {' '.join(PREFLIGHT)}", "preflight")
        write_terminal(run_command(train_dir, "train"), "make train", "terminal")
        write_plot(train_dir, "logs/train/*/learning_curves.png", "learning_curves")
        write_plot(train_dir, "logs/train/*/confusion_matrix.png", "confusion_matrix")
        run_command(report_dir, "train", "model=bert")
        sweep = start_command(report_dir, *SWEEP)
        write_live(sweep, report_dir, num_finished=2)
        sweep.communicate()
        write_plot(report_dir, "logs/sweep/*/results.png", "sweep_results")
        run_command(report_dir, "report")
        page = (report_dir / "logs/report.html").read_text(encoding="utf-8")
        for name in SECTIONS:
            write_report(page, name)
        run_command(batch_sizes_dir, *BATCH_SIZE_SWEEP)
        write_plot(batch_sizes_dir, "logs/sweep/*/batch_sizes.png", "batch_sizes")


if __name__ == "__main__":
    main()
