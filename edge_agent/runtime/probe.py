"""Whether a model file loads and answers its golden inputs, in a process of its own.

``python -m edge_agent.runtime.probe FOLDER`` loads the model of the bundle in
``FOLDER`` with the device's interpreter, compares its tensors with ``bundle.json`` and
its answers with the golden ones. It prints one line of JSON, ``{"ok", "code",
"text"}``, and exits with 0 or 1. Limits on memory and time keep a hostile file from
more than this process. The hub starts it when it takes in a bundle.
"""

import json
import resource
import sys
from pathlib import Path

from edge_agent.base.children import end_with_parent
from edge_agent.errors import ModelError
from edge_agent.runtime.fit import ask, check_fit
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Model
from edge_agent.sketch.golden import Golden, read_golden
from edge_agent.wire.codec import decode
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import BUNDLE_FILE, Bundle

MEMORY_BYTES = 4 << 30
CPU_S = 60
WRONG = "AGENT-MODEL-009"


def probe(folder: Path) -> tuple[str, str]:
    """Load a bundle's model and compare it with its golden inputs.

    Returns:
        Code and text of what is wrong; both empty if nothing is.
    """
    try:
        bundle = decode((folder / BUNDLE_FILE).read_bytes(), Bundle)
        golden = read_golden((folder / bundle.golden.name).read_bytes(), bundle)
    except (OSError, ValueError, WireError) as error:
        return WRONG, f"the bundle cannot be read: {error}"
    try:
        model = load_model((folder / bundle.model.name).read_bytes())
    except ModelError as error:
        return error.code, error.text
    try:
        check_fit(model, [one.tensor for one in bundle.inputs], bundle.outputs)
        return _compare(model, golden)
    except ModelError as error:
        return error.code, error.text
    finally:
        model.close()


def _compare(model: Model, golden: Golden) -> tuple[str, str]:
    for place in range(len(golden)):
        fault = golden.fault(place, ask(model, golden.sample(place)))
        if fault:
            return WRONG, fault
    return "", ""


def main() -> int:
    """Run the probe on the command line's argument."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        print("usage: probe FOLDER", file=sys.stderr)  # noqa: T201
        return 2
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    code, text = probe(Path(sys.argv[1]))
    print(json.dumps({"ok": not code, "code": code, "text": text}))  # noqa: T201
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
