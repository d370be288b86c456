"""A terminal that remembers what a person sees."""

import io
import re
from typing import Any


class FakeTerminal(io.StringIO):
    def isatty(self) -> Any:
        return True

    def text(self) -> Any:
        """What a person sees: no colours, no blanks at the ends of lines."""
        seen = re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue())
        return "\n".join(line.rstrip() for line in seen.splitlines())
