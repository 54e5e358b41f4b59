"""One finding of ``edge-agent doctor``."""

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check: whether it holds, what was seen, and what to do where it fails."""

    check: str
    ok: bool
    seen: str
    cure: str = ""

    def line(self) -> str:
        """Return the finding as one line of text."""
        mark = "ok  " if self.ok else "FAIL"
        cure = f" -> {self.cure}" if self.cure and not self.ok else ""
        return f"{mark}  {self.check}: {self.seen}{cure}"
