"""Whether a finished run's numbers are those that its own files give."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lllm.errors import UserError
from lllm.results.documents import read_documents
from lllm.results.files import file_digest
from lllm.results.probed import FILE, proof_digest
from lllm.results.records import Record

__all__ = ["edited", "sifted"]

_WITHIN = 1e-9  # relative: sums of the same numbers in another order


def edited(record: Record) -> str:
    """Why a finished run is not believed: 'edited by hand: ...' where its files are not those that its result was
    written beside, or give other bits per byte; '' where they agree, or only its committed line is here.

    Raises:
        UserError: documents.npz is damaged.
    """
    result = record.result or {}
    if record.path is None:
        return ""
    digests = result.get("digests")
    if not isinstance(digests, dict):  # a run of before there were any, unless it says itself that it is not
        return "edited by hand: result.json has no digests" if record.fingerprint("platform") else ""
    for name, digest in sorted(digests.items()):
        path = record.path / str(name)
        if name == FILE:
            if proof_digest(record.path) not in ("", digest):  # what is gone proves nothing, and may be made again
                return f"edited by hand: {name} is not what the run wrote"
            continue
        if not path.is_file():
            return f"edited by hand: {name} is gone"
        if file_digest(path) != digest:
            return f"edited by hand: {name} is not what the run wrote"
    path = record.path / "documents.npz"
    if result.get("kind") == "none" or not path.is_file():
        return ""
    documents = read_documents(path)
    nats = documents.nats.get(str(result.get("likelihood")))
    if nats is None:
        return "edited by hand: documents.npz lacks the likelihood of result.json"
    given, found = result.get("bpb"), float(nats.sum()) / (math.log(2) * max(int(documents.bytes.sum()), 1))
    if not isinstance(given, int | float) or not math.isclose(given, found, rel_tol=_WITHIN):
        return f"edited by hand: bpb {given} in result.json, {found:.6g} by documents.npz"
    return ""


def sifted(records: Iterable[Record]) -> tuple[list[Record], dict[int, str]]:
    """The finished ones of an arm's records that are believed, and seed -> why another is not."""
    sound, refused = [], {}
    for record in (record for record in records if record.state == "finished"):
        try:
            why = edited(record)
        except UserError as error:
            why = str(error)
        if why:
            refused[record.seed] = why
        else:
            sound.append(record)
    return sound, refused
