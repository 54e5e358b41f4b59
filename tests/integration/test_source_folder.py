"""The folder source on real files: once each, whatever happens in between."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from edge_agent.config_flows import FolderSource
from edge_agent.serve.joined import Values
from edge_agent.serve.sources.folder import MAX_ATTEMPTS, Folder
from edge_agent.serve.sources.port import Taken
from tests.fakes.asked_model import AskedModel, contract_of, running
from tests.fakes.worker_device import wait_for

CONTRACT = contract_of(10, 2, hop=10)
After = Literal["move", "mark", "delete"]


def _put(path: Path, rows: int, first: int = 0) -> None:
    values = np.arange(first, first + rows * 2).reshape(rows, 2)
    part = path.with_name(f".{path.name}")
    np.savetxt(part, values, delimiter=",")
    part.replace(path)


def _source(
    tmp_path: Path, model: AskedModel, *, after: After = "move", settle_s: float = 0.1
) -> Folder:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    config = FolderSource(path="in", settle_s=settle_s, after=after)
    return Folder(config, folder, tmp_path / "state", model.ports)


def test_every_file_is_inferred_once_and_moved(tmp_path: Path) -> None:
    """CSV, npz and images; those that are there already, and those that come."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model)
    _put(tmp_path / "in" / "b.csv", 35)
    with running(source):
        model.wait(lambda: len(model.ids) == 3)
        np.savez(tmp_path / "in" / "a.npz", one=np.zeros((10, 2)), two=np.ones((20, 2)))
        model.wait(lambda: len(model.ids) == 6)
        wait_for(lambda: source.counters.files_done == 2)
    assert model.ids == [
        "b.csv@0",
        "b.csv@10",
        "b.csv@20",
        "a.npz/one@0",
        "a.npz/two@0",
        "a.npz/two@10",
    ]
    done = sorted(path.name for path in (tmp_path / "in" / "done").iterdir())
    assert done == ["a.npz", "b.csv"]
    assert source.counters.answered == 6


def test_images_are_samples(tmp_path: Path) -> None:
    """A folder of pictures feeds a model of pictures; one of another size is told."""
    model = AskedModel(contract_of(4, 5, 3))
    source = _source(tmp_path, model)
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "in" / "good.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "large.png")
    with running(source):
        wait_for(lambda: source.counters.files_done + source.counters.files_failed == 2)
    assert (tmp_path / "in" / "done" / "good.png").exists()
    why = tmp_path / "in" / "failed" / "large.png.why"
    assert "shape" in why.read_text()
    assert model.values[0][0, 0].tolist() == [1, 2, 3]


def test_a_file_that_is_still_written_waits(tmp_path: Path) -> None:
    """Half a file is never read, neither in place nor under a passing name."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model, settle_s=1.0)
    path = tmp_path / "in" / "slow.csv"
    (tmp_path / "in" / "other.csv.part").write_text("1,2\n" * 10)
    written = 0
    with running(source):
        with path.open("w") as file:
            # Slower than the source looks, faster than a file settles.
            for _ in range(20):
                file.write("1,2\n" * 2)
                file.flush()
                written += 2
                threading.Event().wait(0.05)
        assert model.ids == []
        model.wait(lambda: len(model.ids) == written // 10)
    assert (tmp_path / "in" / "other.csv.part").exists()


def test_bad_files_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    """What is no CSV, and what is too short for a window, does not stop the others."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model)
    (tmp_path / "in" / "1.csv").write_text("1,2\nx,y\n")
    _put(tmp_path / "in" / "2.csv", 5)
    _put(tmp_path / "in" / "3.csv", 10)
    with running(source):
        wait_for(lambda: source.counters.files_done == 1)
        wait_for(lambda: source.counters.files_failed == 2)
    failed = tmp_path / "in" / "failed"
    assert "line 2" in (failed / "1.csv.why").read_text()
    assert "shape" in (failed / "2.csv.why").read_text()
    assert (failed / "1.csv").read_text() == "1,2\nx,y\n"


@pytest.mark.parametrize(("after", "left"), [("mark", ["a.csv.done"]), ("delete", [])])
def test_done_files_may_be_marked_or_deleted(
    tmp_path: Path, after: After, left: list[str]
) -> None:
    """Whoever does not want a folder of old files says so."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model, after=after)
    _put(tmp_path / "in" / "a.csv", 10)
    with running(source):
        wait_for(lambda: source.counters.files_done == 1)
    assert [path.name for path in (tmp_path / "in").iterdir()] == left


def test_a_file_of_a_name_that_was_there_before_is_a_new_one(tmp_path: Path) -> None:
    """Nothing in `done` is written over."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model)
    with running(source):
        for number in (1, 2):
            _put(tmp_path / "in" / "a.csv", 10, first=number)
            wait_for(lambda number=number: source.counters.files_done == number)  # type: ignore[misc]
    names = sorted(path.name for path in (tmp_path / "in" / "done").iterdir())
    assert names == ["a.1.csv", "a.csv"]


def test_a_restart_goes_on_behind_the_last_answer(tmp_path: Path) -> None:
    """Stopped in the middle of a file, nothing is lost and nothing repeated."""
    model = AskedModel(CONTRACT)
    stop = threading.Event()
    stops = {3, 4, 14}

    def ask(stream: str, sample_id: str, sample: Values) -> Taken:
        taken = model.ask(stream, sample_id, sample)
        if len(model.ids) in stops:
            stop.set()
        return taken

    _source(tmp_path, model)
    _put(tmp_path / "in" / "a.csv", 200)
    for _ in range(len(stops) + 1):
        stop.clear()
        ports = replace(model.ports, ask=ask)
        config = FolderSource(path="in", settle_s=0.1)
        source = Folder(config, tmp_path / "in", tmp_path / "state", ports)
        thread = threading.Thread(target=source.run, args=(stop,), daemon=True)
        thread.start()
        wait_for(lambda source=source: stop.is_set() or source.counters.files_done)  # type: ignore[misc]
        stop.set()
        thread.join(10)
    assert model.ids == [f"a.csv@{row}" for row in range(0, 200, 10)]


def test_a_model_that_is_away_loses_nothing(tmp_path: Path) -> None:
    """Without a release files wait; a busy model is asked again."""
    model = AskedModel(None)
    source = _source(tmp_path, model)
    _put(tmp_path / "in" / "a.csv", 30)
    with running(source):
        threading.Event().wait(0.3)
        assert model.ids == []
        model.busy = True
        model.contract = CONTRACT
        threading.Event().wait(0.3)
        model.busy = False
        wait_for(lambda: source.counters.files_done == 1)
    assert model.ids == ["a.csv@0", "a.csv@10", "a.csv@20"]
    assert source.counters.dropped == 0


def test_a_new_release_goes_on_in_the_middle(tmp_path: Path) -> None:
    """Windows of another length begin at the row that was next."""
    model = AskedModel(CONTRACT)
    model.may_answer.clear()
    source = _source(tmp_path, model)
    _put(tmp_path / "in" / "a.csv", 100)
    with running(source):
        model.wait(lambda: len(model.ids) == 1)
        model.contract = contract_of(20, 2, hop=20)
        model.may_answer.set()
        wait_for(lambda: source.counters.files_done == 1)
    assert model.ids == ["a.csv@0", "a.csv@20", "a.csv@40", "a.csv@60", "a.csv@80"]


def test_a_file_that_kills_the_worker_is_set_aside(tmp_path: Path) -> None:
    """Three deaths in one place are enough; the next start does the others."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model)
    _put(tmp_path / "in" / "poison.csv", 20)
    script = tmp_path / "die.py"
    script.write_text(
        "import os, sys, threading\n"
        "from pathlib import Path\n"
        "from tests.integration.test_source_folder import CONTRACT, _source\n"
        "from tests.fakes.asked_model import AskedModel\n"
        "model = AskedModel(CONTRACT)\n"
        "model.ask = lambda *_: os._exit(9)\n"
        "_source(Path(sys.argv[1]), model).run(threading.Event())\n"
    )
    for _ in range(MAX_ATTEMPTS):
        died = subprocess.run([sys.executable, script, tmp_path], check=False)
        assert died.returncode == 9
    _put(tmp_path / "in" / "good.csv", 10)
    with running(source):
        wait_for(lambda: source.counters.files_failed == 1)
        wait_for(lambda: source.counters.files_done == 1)
    why = (tmp_path / "in" / "failed" / "poison.csv.why").read_text()
    assert "died at it 3 times" in why
    assert model.ids == ["good.csv@0"]


def test_a_folder_that_is_not_there_is_named_and_waited_for(tmp_path: Path) -> None:
    """A share that is mounted late is no reason to give up."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model)
    (tmp_path / "in").rmdir()
    with running(source):
        wait_for(lambda: "No such file" in source.problem)
        (tmp_path / "in").mkdir()
        _put(tmp_path / "in" / "a.csv", 10)
        wait_for(lambda: source.counters.files_done == 1)
        assert not source.problem


def test_links_and_pipes_are_left_alone(tmp_path: Path) -> None:
    """Only regular files of the folder itself are read."""
    model = AskedModel(CONTRACT)
    source = _source(tmp_path, model)
    _put(tmp_path / "secret.csv", 10)
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "secret.csv")
    os.mkfifo(tmp_path / "in" / "pipe.csv")
    _put(tmp_path / "in" / "z.csv", 10)
    with running(source):
        wait_for(lambda: source.counters.files_done == 1)
        threading.Event().wait(0.3)
    assert model.ids == ["z.csv@0"]
