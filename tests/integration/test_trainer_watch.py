"""The watch data: found without its package, split by person, cut into halves."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import DataError
from trainer.pipeline.dataset import assemble, hold_out_group, read_samples
from trainer.tasks.registry import open_task
from trainer.tasks.watch import GATE, LABELS, TRAIN, WEARERS, cut, halves, stream
from trainer.tasks.watch_export import export_watch
from trainer.tasks.watch_source import load_recordings


def test_nobody_is_in_two_roles() -> None:
    """The three roles are disjoint and cover all ten people."""
    people = {recording.person for recording in load_recordings()}
    assert len(TRAIN) + len(WEARERS) + len(GATE) == len(people) == 10
    assert {*TRAIN, *WEARERS, *GATE} == people


def test_the_corpus_keeps_to_its_people_and_arms() -> None:
    """A first model sees right arms of train people; the gate has both arms."""
    task = open_task("watch", {})
    corpus = task.load()
    assert set(corpus.train.group.tolist()) == set(TRAIN)
    assert corpus.train.x.shape[1:] == (100, 6)
    assert [block.group for block in corpus.gate] == [
        "p09-right",
        "p10-right",
        "p09-left",
        "p10-left",
    ]
    limit = task.contract.high
    assert np.abs(corpus.train.x).max() < limit


def test_halves_are_disjoint_and_whole() -> None:
    """The halves of a recording are its rows, each once."""
    recording = load_recordings()[0]
    (first, a), (second, b) = halves(recording)
    assert (first, second) == ("p01-left-e0-first", "p01-left-e0-second")
    assert np.array_equal(np.concatenate([a, b]), recording.rows)


def test_windows_start_every_hop() -> None:
    """Window k holds the rows from k times the hop."""
    rows = np.arange(250 * 6, dtype=np.float32).reshape(250, 6)
    windows = cut(rows)
    assert windows.shape == (8, 100, 6)
    assert np.array_equal(windows[3], rows[60:160])
    assert cut(rows[:99]).shape == (0, 100, 6)


def test_a_stream_takes_turns() -> None:
    """The recordings of a stream take turns, a window each."""
    block = stream(load_recordings(), "p09", "right")
    assert block.y[:7].tolist() == list(range(7))
    assert block.y[7:14].tolist() == list(range(7))


def test_export_writes_what_devices_replay(tmp_path: Path) -> None:
    """Every recording of the export has a label, and the split is told."""
    export_watch(tmp_path)
    labels = json.loads((tmp_path / "labels.json").read_text())
    split = json.loads((tmp_path / "split.json").read_text())
    assert split["wearers"] == list(WEARERS)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == len(WEARERS) * 4
    with np.load(tmp_path / "p07-right-first.npz", allow_pickle=False) as arrays:
        assert arrays["p07-right-e3-first"].shape[1] == 6
        assert arrays["p07-right-e3-first"].dtype == np.float32
        assert set(arrays) <= set(labels)
    assert labels["p07-right-e3-first"] == LABELS[3]


def write_samples(path: Path, label: str, shape: tuple[int, ...]) -> None:
    """Write a samples file of ``shape[0]`` samples."""
    n = shape[0]
    np.savez(
        path,
        x=np.zeros(shape, np.float32),
        label=np.array([label] * n),
        group=np.array(["d1"] * n),
    )


def test_device_samples_join_with_more_weight(tmp_path: Path) -> None:
    """Few samples of devices weigh more each, and one whole group is held out."""
    task = open_task("watch", {})
    write_samples(tmp_path / "s.npz", LABELS[2], (5, 100, 6))
    samples = read_samples(tmp_path / "s.npz", task)
    data = assemble(task.load().train, samples)
    assert data.weight[0] == 1
    assert data.weight[-1] > 1
    fit, held_out, name = hold_out_group(data)
    assert name not in fit.group
    assert set(held_out.group.tolist()) == {name}


@pytest.mark.parametrize(
    ("label", "shape", "code"),
    [
        (LABELS[0], (5, 99, 6), "TRAINER-DATA-011"),
        ("jumping", (5, 100, 6), "TRAINER-DATA-012"),
    ],
)
def test_wrong_samples_are_refused(
    tmp_path: Path, label: str, shape: tuple[int, ...], code: str
) -> None:
    """Samples of another shape or with an unknown label are refused."""
    write_samples(tmp_path / "s.npz", label, shape)
    with pytest.raises(DataError) as caught:
        read_samples(tmp_path / "s.npz", open_task("watch", {}))
    assert caught.value.code == code


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    """A samples file that cannot be read is a known error."""
    (tmp_path / "s.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError) as caught:
        read_samples(tmp_path / "s.npz", open_task("watch", {}))
    assert caught.value.code == "TRAINER-DATA-010"
