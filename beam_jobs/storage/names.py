"""Names of files: paths and URIs as texts; nothing is asked of a disk or a service."""

import os
import posixpath
import re

SCHEME = re.compile("([A-Za-z][A-Za-z0-9+.-]*)://")
_ODD = re.compile(r"[*?\[\]\\]")
"""Characters of a path that DuckDB and TensorFlow do not take as they are."""


def is_plain(path: str) -> bool:
    """Whether no library takes a local path for a pattern."""
    return _ODD.search(path) is None


def join(folder: str, *parts: str) -> str:
    """The path of something in a folder."""
    return "/".join([folder.rstrip("/"), *parts]) if folder != "/" else "/" + "/".join(parts)


def resolve(folder: str, path: str) -> str:
    """A path as seen from a folder; an absolute one, and a URI, stay what they are."""
    if SCHEME.match(path):
        return path
    scheme = SCHEME.match(folder)
    if scheme is None or os.path.isabs(path):
        return os.path.normpath(os.path.join(folder, path))
    return scheme[0] + posixpath.normpath(posixpath.join(folder[scheme.end() :], path))
