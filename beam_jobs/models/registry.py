"""Where a model lies: a SavedModel folder, or a folder of numbered versions with aliases.

Light on purpose (no TensorFlow): planning names the model before anything is loaded.
"""

import atexit
import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from beam_jobs import storage
from beam_jobs.config.flags import nearest
from beam_jobs.errors import InputError, UsageError

CHAMPION = "champion"
ALIASES_FILE = "aliases.json"
SAVED_MODEL_FILE = "saved_model.pb"

_VERSION = re.compile("[0-9]+")


@dataclass(frozen=True)
class ModelLocation:
    """One version of a model.

    Attributes:
        path: the SavedModel folder.
        version: the version folder's number; the fingerprint where the folder has none.
        fingerprint: 16 hexadecimal digits, a hash of all its files' names and contents.
        choice: why this one of several versions, where nobody named it; else empty.
    """

    path: str
    version: str
    fingerprint: str
    choice: str = field(default="", compare=False)


def resolve_model(uri: str, flag: str = "--model") -> ModelLocation:
    """Finds the version that a MODEL names.

    A folder of numbered versions, as TensorFlow Serving lays it out, gives the version that
    aliases.json calls champion, the highest number without such a file; `FOLDER@ALIAS` another.

    Raises:
        UsageError: there is no such folder, version or alias, or no SavedModel in it.
    """
    folder, at, alias = uri.rpartition("@") if "@" in os.path.basename(uri) else (uri, "", "")
    where = f"{flag} {uri}"
    root = storage.absolute(folder)
    try:
        inside = storage.children(root)
    except OSError as error:
        raise UsageError(
            f"{where}: is not a folder; expected a SavedModel or numbered versions"
            f" ({error.strerror})"
        ) from error
    if SAVED_MODEL_FILE in inside:
        if at:
            raise UsageError(f"{where}: is one SavedModel, without versions, so it has no aliases")
        return _located(root, "", where)
    numbered = (
        name[:-1] for name in inside if name.endswith("/") and _VERSION.fullmatch(name[:-1])
    )
    versions = sorted(numbered, key=int)
    if not versions:
        shown = ", ".join(name.rstrip("/") for name in inside[:8])
        raise UsageError(
            f"{where}: has no {SAVED_MODEL_FILE} and no numbered version folders; it holds"
            f" {shown or 'nothing'}"
        )
    aliases = _aliases(root, where) if ALIASES_FILE in inside else {}
    if not at and CHAMPION not in aliases:
        newest = _located(storage.join(root, versions[-1]), versions[-1], where)
        choice = _choice(newest, versions[:-1], where, ALIASES_FILE in inside)
        return dataclasses.replace(newest, choice=choice)
    name = alias or CHAMPION
    if name not in aliases:
        known = ", ".join(sorted(aliases)) or "none"
        raise UsageError(f"{where}: no alias {name!r} in {ALIASES_FILE}; it has {known}"
                         + nearest(name, aliases))  # fmt: skip
    version = aliases[name]
    if version not in versions:
        raise UsageError(
            f"{where}: alias {name!r} names version {version}, but the versions are"
            f" {', '.join(versions)}"
        )
    return _located(storage.join(root, version), version, where)


def _choice(newest: ModelLocation, others: Sequence[str], where: str, has_aliases: bool) -> str:
    """What the user should know where the highest number was taken because no alias says more."""
    if not others:
        return ""
    since = storage.since(storage.join(newest.path, SAVED_MODEL_FILE))
    why = f"{ALIASES_FILE} names no {CHAMPION}" if has_aliases else f"there is no {ALIASES_FILE}"
    pin = json.dumps({CHAMPION: newest.version})
    return (
        f"{where}: {why}, so version {newest.version} is taken, the highest, there since"
        f" {since:%Y-%m-%d %H:%M} UTC; there are also {', '.join(reversed(others))};"
        f" {pin} in {ALIASES_FILE} pins it"
    )


def _aliases(root: str, where: str) -> dict[str, str]:
    try:
        aliases = json.loads(storage.read_bytes(storage.join(root, ALIASES_FILE)))
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {ALIASES_FILE} cannot be read ({error})") from error
    if not isinstance(aliases, dict) or not all(isinstance(v, str) for v in aliases.values()):
        example = '{"champion": "3"}'
        raise UsageError(f"{where}: {ALIASES_FILE} must map aliases to versions: {example}")
    return aliases


def _located(path: str, version: str, where: str) -> ModelLocation:
    try:
        files = storage.list_files(path)
        if storage.join(path, SAVED_MODEL_FILE) not in {file.uri for file in files}:
            raise UsageError(f"{where}: {path} has no {SAVED_MODEL_FILE}")
        fingerprint = _fingerprint(path, files)
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror})") from error
    return ModelLocation(path, version or fingerprint, fingerprint)


def _fingerprint(path: str, files: Sequence[storage.FileInfo]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{storage.relative(path, file.uri)}\0{storage.digest(file)}\0".encode())
    return digest.hexdigest()[:16]


@functools.cache
def local_copy(location: ModelLocation) -> str:
    """A local folder that holds the model; one in Cloud Storage is copied once a process.

    No library takes its path for a pattern.

    Raises:
        InputError: the model is not the one that was planned.
        StorageError: it cannot be read.
    """
    if storage.is_local(location.path):
        return location.path if storage.is_plain(location.path) else _link(location.path)
    files = storage.list_files(location.path)
    found = _fingerprint(location.path, files)
    if found != location.fingerprint:
        raise InputError(
            f"model {location.path}: changed during the run (planned {location.fingerprint}, found"
            f" {found}); run the command again to take the new one"
        )
    folder = _scratch()
    storage.fetch_folder(location.path, files, folder)
    return folder


def _link(path: str) -> str:
    """Another name of a folder: TensorFlow takes the path of a model's variables for a pattern."""
    link = os.path.join(_scratch(), "model")
    os.symlink(path, link)
    return link


def _scratch() -> str:
    folder = tempfile.mkdtemp(prefix="beam-jobs-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
