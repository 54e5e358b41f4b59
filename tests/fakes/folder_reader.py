"""A process that reads a folder and notes every answer, for tests that kill it.

``python -m tests.fakes.folder_reader FOLDER`` watches ``FOLDER/in``, keeps its progress
in ``FOLDER/state`` and appends the id of each answered sample to ``FOLDER/answers``.
"""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from edge_agent.config_flows import FolderSource
from edge_agent.serve.joined import Values
from edge_agent.serve.sources.folder import Folder
from edge_agent.serve.sources.port import Outcome, Taken
from tests.fakes.asked_model import AskedModel, contract_of

MODEL_S = 0.0003
"""How long the model takes for a sample."""


def main(folder: Path) -> None:
    """Read until the process ends."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    think = threading.Event()
    answers = os.open(folder / "answers", flags, 0o600)

    def ask(_stream: str, sample_id: str, _sample: Values) -> Taken:
        think.wait(MODEL_S)
        os.write(answers, f"{sample_id}\n".encode())
        return Taken(outcome=Outcome.ANSWERED)

    model = AskedModel(contract_of(10, 2, hop=10))
    config = FolderSource(path="in", settle_s=0.05)
    ports = replace(model.ports, ask=ask)
    Folder(config, folder / "in", folder / "state", ports).run(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
