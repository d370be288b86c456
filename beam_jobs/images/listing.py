"""Whether images are still those that a run has seen, told by a listing."""

import hashlib

from beam_jobs import storage
from beam_jobs.errors import StorageTimeoutError, UsageError

MOST_IMAGES = 100_000
"""Of a fingerprint: 100 requests to Cloud Storage, or two seconds of a local disk."""


def fingerprint_of(prefix: str) -> str | None:
    """16 hexadecimal digits that change with the name, size or generation of any file there.

    No image is read. None where there are more than MOST_IMAGES.

    Args:
        prefix: folder or `gs://` prefix, absolute.

    Raises:
        UsageError: it cannot be listed.
        StorageTimeoutError: a service did not answer.
    """
    try:
        files = storage.list_files(prefix, MOST_IMAGES + 1)
    except StorageTimeoutError:
        raise
    except OSError as error:
        raise UsageError(f"--images {prefix}: cannot be listed ({error.strerror})") from error
    if len(files) > MOST_IMAGES:
        return None
    digest = hashlib.sha256()
    for file in files:
        name = storage.relative(prefix, file.uri)
        digest.update(f"{name}\0{file.size}\0{file.generation}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
