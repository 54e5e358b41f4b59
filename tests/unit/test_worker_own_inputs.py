"""Which inputs of a device the ring is offered."""

import random

import numpy as np
import pytest

from edge_agent.errors import AgentError, SampleRejectedError
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.ring_writer import RingWriter
from tests.fakes.paired_path import SAMPLE, PairedPath, Scripted, fail
from tests.fakes.ring_memory import Clock, ring_memory


def test_a_sample_that_the_active_release_failed_on_is_kept_too() -> None:
    """A ring of easy samples only would count a candidate's failures and no others."""
    with ring_memory() as fd:
        writer = RingWriter.attach(fd)
        path = PairedPath(Recorder(writer, random.Random(1), Clock().mono))
        hard = path.load(Scripted(1, fail))
        path.swap(hard, path.load(Scripted(2)))
        path.infer("answered-by-the-one-before")
        path.path.swap(path.path.ladder.only(1))
        with pytest.raises(AgentError):
            path.infer("answered-by-nobody")
        kept = writer.ring.samples()
        path.close()
    assert len(kept) == 2
    assert all(np.array_equal(one.arrays["x"], SAMPLE) for one in kept)


def test_a_release_that_was_not_served_keeps_nothing() -> None:
    """What the rule or nobody answers is no sample of a release."""
    with ring_memory() as fd:
        writer = RingWriter.attach(fd)
        path = PairedPath(Recorder(writer, random.Random(2), Clock().mono))
        with pytest.raises((AgentError, SampleRejectedError)):
            path.infer("no-model")
        kept = writer.ring.samples()
        path.close()
    assert kept == []
