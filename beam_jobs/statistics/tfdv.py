"""TFDV, imported without the note about notebooks that it writes to standard error."""

import contextlib
import io

with contextlib.redirect_stderr(io.StringIO()):
    import tensorflow_data_validation as tfdv

__all__ = ["tfdv"]
