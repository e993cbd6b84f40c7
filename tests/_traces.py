"""What a process leaves behind: files that it writes, and what is told in them of an image."""

import hashlib
import os


def take_snapshot(folders):
    """Return the digest of every file in folders, by path."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def find_changes(before, after):
    """Return the files that are new or have changed, given two snapshots."""
    return [path for path, digest in after.items() if before.get(path) != digest]


def find_secrets(content, secrets):
    """Return the secrets that are in bytes: texts in any Unicode encoding, or bytes."""
    return [secret for secret in secrets if any(code in content for code in _encode(secret))]


def find_secrets_in_files(folders, secrets):
    """Return the names and contents of files that have secrets, as pairs of path and secret."""
    return [
        (path, secret)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        for secret in find_secrets(_read(path), secrets)
    ]


def _read(path):
    """Return the name of a file or folder, and the content of a file."""
    return os.fsencode(path.name) + (b"\n" + path.read_bytes() if path.is_file() else b"")


def _encode(secret):
    if isinstance(secret, bytes):
        return [secret]
    return [secret.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]
