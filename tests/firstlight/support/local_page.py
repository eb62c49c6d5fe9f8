"""Local pages, such as the page of `make live`, in another process."""

import signal
import socket
import subprocess
import sys


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_page(command, *overrides):
    """Start `make <command>`; return its process and its first line, which it prints once it listens."""
    arguments = [sys.executable, "-m", f"firstlight.{command}", *overrides, "open_browser=false"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return process, process.stdout.readline()


def stop_page(process):
    """Stop a page with Ctrl-C, and return its exit code and output."""
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output
