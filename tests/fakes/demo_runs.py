"""Runs of the demo that leave a report at once, for tests of what repeats them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from hub.demo.accounts import Records
from hub.demo.options import Options
from hub.demo.repeat import RunFiles
from hub.demo.report import ActResult, Report


def make_report(*, ok: bool = True, seed: int = 1, left_after: float = 0.8) -> Report:
    """Return a report; of a run that failed, the act ``release-2`` did."""
    return Report(
        ok=ok,
        sensor="sessions",
        seed=seed,
        duration_s=100.0 + seed,
        acts=[
            ActResult(name="train", ok=True, duration_s=1.0, line="release 1"),
            ActResult(name="release-2", ok=ok, duration_s=1.0, line="[2 of 2] failed"),
        ],
        accuracy={
            "release_1": {"right": 0.75, "left": 0.3},
            "release_2": {"right": 0.76, "left": left_after},
        },
        accuracy_first_half={},
        accuracy_by_device={},
        right_loss_at_least=0.0,
        labels={},
        alerts={},
        alert="",
        alert_before_labels=True,
        drift_fired_at=1.0,
        labels_fired_at=2.0,
        alert_to_release_s=40.0,
        devices_on_release={},
        devices_by_phase={},
        rollouts={},
        deltas={},
        bad_release="1 of 2 devices failed",
        bad_release_codes={"AGENT-UPDATE-052": 1},
        bad_release_devices=["watch-01"],
        good_release_stopped=not ok,
        records=Records(produced=1000, received=1000 if ok else 998),
        versions={},
    )


@dataclass(slots=True)
class ScriptedRuns:
    """Plays run after run as told: ``ok``, ``fail``, ``crash`` or ``interrupt``."""

    script: Sequence[str]
    played: list[Options] = field(default_factory=list)

    def __call__(
        self, options: Options, files: RunFiles, say: Callable[[str], None]
    ) -> None:
        """Play the next run of the script."""
        what = self.script[len(self.played)]
        self.played.append(options)
        options.folder.mkdir(parents=True)
        say("act 1/11: Set the stage")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "crash":
            files.log.write_text("act 1/11\nHUB-DEMO-001: broker ended\n\n")
            return
        report = make_report(ok=what == "ok", seed=options.seed)
        files.report.write_bytes(msgspec.json.encode(report))
