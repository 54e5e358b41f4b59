"""What `hub devices get` says of a twin."""

import msgspec

from edge_agent.wire.control import Reported
from hub.cli.activations import api_text, left_out_text

TWIN = Reported(device="d1", boot="0" * 16, version=0, at=1.0, release=1)


def test_what_is_left_out_is_said_as_the_device_does() -> None:
    """A level that this hub does not know yet is shown as it came."""
    assert left_out_text(None) == api_text(None) == api_text(TWIN) == "-"
    assert left_out_text(TWIN) == "nothing"
    hot = msgspec.structs.replace(TWIN, shedding="shadow", api=["a", "b"])
    assert left_out_text(hot) == "the shadow"
    assert api_text(hot) == "a, b"
    newer = msgspec.structs.replace(TWIN, shedding="radio")
    assert left_out_text(newer) == "radio"
