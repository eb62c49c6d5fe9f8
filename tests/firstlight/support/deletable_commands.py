"""The commands that a project can delete: each is a package of its own."""

COMMANDS = [
    "sweep",
    "export",
    "report",
    "live",
    "demo",
    "runs",
    "benchmark",
    "check_gpu",
    "preflight",
    "prepare",
    "tune",
    "lr_find",
]
