"""One TUF check in a process of its own, as a script of the agent's environment.

``python tuf_check.py FOLDER``: imports what an agent runs besides TUF, notes its
memory, then imports the trust code, checks ``FOLDER/bundle.json`` from
``FOLDER/root.json`` on and looks up every target named in ``FOLDER/targets.json``.
Prints one line of JSON: bytes resident before, after the import, and at most.
"""

import importlib
import json
import sys
import time
from pathlib import Path

BASE = (
    "edge_agent.child",
    "edge_agent.enrol",
    "edge_agent.link.blocks",
    "edge_agent.link.mqtt",
    "edge_agent.link.relay",
    "edge_agent.link.session",
    "edge_agent.opening",
    "edge_agent.renewal",
    "edge_agent.store.flush",
    "edge_agent.update.download",
    "edge_agent.update.machine",
    "edge_agent.update.selftest",
    "edge_agent.watchdog",
)
"""What the supervisor imports, as far as it does without python-tuf."""


def memory() -> tuple[int, int]:
    """Return the bytes that are resident now, and were at most."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    found = dict(line.split(":", 1) for line in lines)
    now, most = (int(found[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    return now, most


def main(folder: Path) -> None:
    """Check once."""
    for name in BASE:
        importlib.import_module(name)
    assert "tuf" not in sys.modules, "the base needs TUF already"
    root = (folder / "root.json").read_bytes()
    data = (folder / "bundle.json").read_bytes()
    targets = json.loads((folder / "targets.json").read_text("utf-8"))
    before, _ = memory()
    from edge_agent.update.metadata import Trust
    from edge_agent.wire.codec import decode
    from edge_agent.wire.control import TufBundle

    imported, _ = memory()
    started = time.perf_counter()
    trust = Trust(folder / "tuf", root)
    trust.refresh(decode(data, TufBundle, limit=4 << 20), time.time())
    for target in targets:
        trust.find(target)
    took_s = time.perf_counter() - started
    after, most = memory()
    figures = {
        "imported": imported - before,
        "after": after - before,
        "most": most - before,
        "took_s": took_s,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
