"""Whether a model file loads and answers its golden inputs, in a process of its own.

``python -m edge_agent.runtime.probe MODEL GOLDEN OUTPUT`` loads ``MODEL`` with the
device's interpreter, runs the inputs ``x`` of the npz ``GOLDEN`` and compares output
``OUTPUT`` with ``probabilities`` within ``atol``. It prints one line of JSON,
``{"ok", "code", "text"}``, and exits with 0 or 1. Limits on memory and time keep a
hostile file from more than this process. The hub starts it when it takes in a bundle.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Model

MEMORY_BYTES = 4 << 30
CPU_S = 60
_ARGUMENTS = 3


def probe(model_file: Path, golden_file: Path, output: str) -> tuple[str, str]:
    """Load a model and compare it with its golden inputs.

    Returns:
        Code and text of what is wrong; both empty if nothing is.
    """
    try:
        model = load_model(model_file.read_bytes())
    except ModelError as error:
        return error.code, error.text
    try:
        return _compare(model, golden_file, output)
    except ModelError as error:
        return error.code, error.text
    finally:
        model.close()


def _compare(model: Model, golden_file: Path, output: str) -> tuple[str, str]:
    with np.load(golden_file, allow_pickle=False) as golden:
        samples, expected = golden["x"], golden["probabilities"]
        atol = float(golden["atol"])
    for place, sample in enumerate(samples):
        found = model.predict(sample).get(output)
        if found is None:
            return "AGENT-MODEL-009", f"the model has no output named {output!r}"
        if found.shape != expected[place].shape:
            return "AGENT-MODEL-009", f"output {output!r} has shape {found.shape}"
        worst = float(np.max(np.abs(found - expected[place])))
        # Not "worst > atol": a NaN must not pass.
        if not worst <= atol:
            return (
                "AGENT-MODEL-009",
                f"golden input {place} differs by {worst:.4g}, {atol:.4g} allowed",
            )
    return "", ""


def main() -> int:
    """Run the probe on the command line's arguments."""
    if len(sys.argv) != _ARGUMENTS + 1:
        print("usage: probe MODEL GOLDEN OUTPUT", file=sys.stderr)  # noqa: T201
        return 2
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    code, text = probe(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    print(json.dumps({"ok": not code, "code": code, "text": text}))  # noqa: T201
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
