"""URLs of storages: what may be given, and what of it may be shown."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from lllm.errors import UserError

__all__ = ["StorageError", "hint", "is_file", "parsed_url", "shown", "text_of"]

_EXPECTED = "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"


class StorageError(UserError):
    """The storage cannot be used: nothing that a trial could be blamed for."""


def shown(text: str) -> str:
    """The URL as it may be shown: without a password, and without its query, which may have one. Errors as in
    `parsed_url`."""
    parsed_url(text)
    return make_url(text)._replace(password=None).set(query={}).render_as_string()


def parsed_url(text: str) -> URL:
    """The URL, of a kind that is known, with its driver. Nothing of a text that is none is repeated: where a password
    begins and ends in it is not known. Raises StorageError where it is none, or of no kind that is known."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StorageError(f"--storage: not the URL of a database; {_EXPECTED}") from None
    if "@" in (url.host or ""):
        raise StorageError("--storage: more than one '@'; expected %40 for each that belongs to the password")
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageError(f"--storage: {url.get_backend_name()}: no kind of storage that is known; {_EXPECTED}")
    if is_file(url) and url.database in (None, "", ":memory:"):
        raise StorageError("--storage: a database in memory is gone with the sweep; expected sqlite:///FILE")
    return url


def is_file(url: URL) -> bool:
    """Whether the storage is a file, and not a server."""
    return url.get_backend_name() == "sqlite"


def text_of(url: URL) -> str:
    """The URL as Optuna takes it, which formats it."""
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def hint(url: URL) -> str:
    """What is expected of a storage that cannot be used."""
    if is_file(url):
        return "expected a file that Optuna made, or none, in a folder that you may write to"
    return "expected a server that runs, and a database of it that you may write to"
