"""Where a model lies: a SavedModel folder, or a folder of numbered versions with aliases.

Light on purpose (no TensorFlow): planning names the model before anything is loaded.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.errors import UsageError
from beam_jobs.flags import nearest

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
        fingerprint: 16 hexadecimal digits, a hash of all its files' names and bytes.
    """

    path: str
    version: str
    fingerprint: str


def resolve_model(uri: str, flag: str = "--model") -> ModelLocation:
    """Finds the version that a MODEL names.

    A folder of numbered versions, as TensorFlow Serving lays it out, gives the version that
    aliases.json calls champion, the highest number without such a file; `FOLDER@ALIAS` another.

    Raises:
        UsageError: there is no such folder, version or alias, or no SavedModel in it.
    """
    folder, at, alias = uri.rpartition("@") if "@" in os.path.basename(uri) else (uri, "", "")
    root = Path(os.path.abspath(folder))
    where = f"{flag} {uri}"
    if not root.is_dir():
        raise UsageError(f"{where}: is not a folder; expected a SavedModel or numbered versions")
    if (root / SAVED_MODEL_FILE).exists():
        if at:
            raise UsageError(f"{where}: is one SavedModel, without versions, so it has no aliases")
        return _located(root, "", where)
    numbered = (p for p in root.iterdir() if _VERSION.fullmatch(p.name) and p.is_dir())
    versions = sorted(numbered, key=lambda p: int(p.name))
    if not versions:
        raise UsageError(
            f"{where}: has no {SAVED_MODEL_FILE} and no numbered version folders; it holds"
            f" {', '.join(sorted(p.name for p in root.iterdir())[:8]) or 'nothing'}"
        )
    aliases = _aliases(root, where)
    if not at and CHAMPION not in aliases:
        return _located(versions[-1], versions[-1].name, where)
    name = alias or CHAMPION
    if name not in aliases:
        known = ", ".join(sorted(aliases)) or "none"
        raise UsageError(f"{where}: no alias {name!r} in {ALIASES_FILE}; it has {known}"
                         + nearest(name, aliases))  # fmt: skip
    version = root / aliases[name]
    if version not in versions:
        raise UsageError(
            f"{where}: alias {name!r} names version {aliases[name]}, but the versions are"
            f" {', '.join(p.name for p in versions)}"
        )
    return _located(version, version.name, where)


def _aliases(root: Path, where: str) -> dict[str, str]:
    file = root / ALIASES_FILE
    if not file.exists():
        return {}
    try:
        aliases = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {ALIASES_FILE} cannot be read ({error})") from error
    if not isinstance(aliases, dict) or not all(isinstance(v, str) for v in aliases.values()):
        example = '{"champion": "3"}'
        raise UsageError(f"{where}: {ALIASES_FILE} must map aliases to versions: {example}")
    return aliases


def _located(path: Path, version: str, where: str) -> ModelLocation:
    if not (path / SAVED_MODEL_FILE).is_file():
        raise UsageError(f"{where}: {path} has no {SAVED_MODEL_FILE}")
    digest = hashlib.sha256()
    try:
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror})") from error
    fingerprint = digest.hexdigest()[:16]
    return ModelLocation(str(path), version or fingerprint, fingerprint)
