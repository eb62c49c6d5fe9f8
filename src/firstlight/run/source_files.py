"""Which files of a working tree are source code, and which may contain keys and passwords."""

from fnmatch import fnmatch
from pathlib import PurePath

# Larger files are considered data.
MAX_FILE_BYTES = 1_000_000
# Files with keys and passwords. Git also lists them, unless a .gitignore excludes them.
SECRET_PATTERNS = [
    ".env",
    ".env.*",
    ".envrc",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
]
SECRET_PATTERNS += ["*credentials*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".htpasswd", "secrets.*", "kaggle.json"]
SECRET_PATTERNS += ["*.jks", "*.keystore", "*.kdbx", "*.ppk", ".pgpass", ".my.cnf", ".git-credentials", "*.tfstate"]
# Directories of a project in which each text file is source code; elsewhere, the suffix says so.
SOURCE_DIRS = ("src", "configs")
SOURCE_SUFFIXES = {".py", ".pyi", ".pyx", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".sh", ".c", ".cc", ".cpp", ".cu"}
SOURCE_SUFFIXES |= {".cuh", ".h", ".hpp", ".m", ".mm", ".metal", ".rs"}


def has_secret_name(name: str) -> bool:
    """Return True if the name of a file says that it contains keys or passwords."""
    return any(fnmatch(PurePath(name).name.lower(), pattern) for pattern in SECRET_PATTERNS)


def is_source_path(path: str) -> bool:
    """Return True if a path relative to the root of a project is source code by its directory or its suffix."""
    return PurePath(path).suffix in SOURCE_SUFFIXES or PurePath(path).parts[:1] in {(name,) for name in SOURCE_DIRS}
