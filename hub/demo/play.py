"""Setting the stage and playing the acts; whatever happens, all children are ended."""

import json
import sys
import time
from collections.abc import Callable

from rich.console import Console

from edge_agent.base.exit_codes import ShoalError
from hub.config import Home
from hub.demo.accounts import Records, count_records
from hub.demo.acts import ACTS, require
from hub.demo.broker import IOTCORE, free_port, start_broker
from hub.demo.fleet import cast
from hub.demo.options import Options
from hub.demo.processes import Processes, interruptible
from hub.demo.report import ActResult, Report, Run, make_report
from hub.demo.scenario import RETRAIN_EPOCHS, SCENARIOS
from hub.demo.screen import ActScreen
from hub.demo.stage import Stage, run
from hub.demo.waiting import wait_until
from hub.storage.db import open_database

_HUB_CONFIG = """\
tick_s = 0.5

[broker]
port = {broker}
batch_qos = {qos}

[api]
port = {api}

[monitor]
for_s = 1.0
baseline_rows = {plan.baseline_rows}
recent_rows = {plan.recent_rows}
min_labels = {plan.min_labels}

[retrain]
min_samples = {plan.min_samples}
max_samples_per_device = {plan.max_samples_per_device}
cooldown_s = 600.0
seed = {seed}
settings = {{ epochs = "{epochs}" }}

[rollout]
stages = [0.25, 0.5, 1.0]
soak_s = 2.0
shadow_ratio = 1.0
shadow_min_samples = 10
min_labels = 0
"""
_TITLES = ("Set the stage", *(act.title for act in ACTS), "Count the records")


def play(options: Options, console: Console) -> tuple[Report, Stage]:
    """Play the whole demo.

    Returns:
        The report, and the stage for those who want to look around.

    Raises:
        ShoalError: The stage could not be set; there is nothing to report.
        KeyboardInterrupt: Ctrl-C; every process has been stopped.
    """
    started = time.monotonic()
    processes = Processes(options.folder / "logs", keep=options.keep)
    screen = ActScreen(_TITLES, console)
    with interruptible(), processes, screen:
        screen.begin(0)
        stage, broker = _set_stage(options, processes, screen)
        line = f"{broker} and hub on loopback, recordings split by person"
        results = [_end(screen, "stage", ok=True, line=line)]
        for place, act in enumerate(ACTS, start=1):
            screen.begin(place)
            ok, line = _try(act.play, stage)
            results.append(_end(screen, act.name, ok=ok, line=line))
            if not ok:
                break
        screen.begin(len(_TITLES) - 1)
        records, ok, line = _account(stage)
        results.append(_end(screen, "records", ok=ok, line=line))
        run_ = Run(
            results=results,
            records=records,
            broker=broker,
            sensor=options.sensor,
            seed=options.seed,
            duration_s=time.monotonic() - started,
        )
        return make_report(stage, run_), stage


def _set_stage(
    options: Options, processes: Processes, screen: ActScreen
) -> tuple[Stage, str]:
    folder = options.folder
    screen.say("splitting the recordings by person")
    data = folder / "data"
    run([sys.executable, "-m", "trainer", "data", "watch", "--out", str(data)])
    split = json.loads((data / "split.json").read_text("utf-8"))
    labels = json.loads((data / "labels.json").read_text("utf-8"))
    plan = SCENARIOS[options.sensor]
    home = Home(folder / "hub")
    screen.say("starting the broker")
    port, broker = start_broker(processes, folder, options.broker)
    screen.say("starting the hub")
    hub = [sys.executable, "-m", "hub", "--home", str(home.path)]
    run([*hub, "init", "--no-passphrase"])
    home.config_file.write_text(
        _HUB_CONFIG.format(
            broker=port,
            api=free_port(),
            qos=0 if broker == IOTCORE else 1,
            plan=plan,
            seed=options.seed,
            epochs=RETRAIN_EPOCHS,
        ),
        "utf-8",
    )
    engine = open_database(home.database_url(home.read_config()))
    processes.start("hub", [*hub, "serve"])
    stage = Stage(
        folder=folder,
        home=home,
        engine=engine,
        processes=processes,
        screen=screen,
        wearers=cast(folder, split["wearers"], order=plan.order, seed=options.seed),
        scenario=plan,
        exercises=len(set(labels.values())),
        seed=options.seed,
    )
    wait_until(lambda: _serves(home), "the hub to serve", timeout_s=30, check=processes)
    return stage, broker


def _serves(home: Home) -> bool:
    import httpx

    port = home.read_config().api.port
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).is_success
    except httpx.HTTPError:
        return False


def _try(play_act: Callable[[Stage], str], stage: Stage) -> tuple[bool, str]:
    try:
        return True, play_act(stage)
    except ShoalError as error:
        return False, str(error)


def _account(stage: Stage) -> tuple[Records, bool, str]:
    try:
        records = count_records(stage)
        require(
            records.received == records.produced and not records.duplicates,
            f"{records.produced} records produced, {records.received} received, "
            f"{records.duplicates} of them twice",
        )
    except ShoalError as error:
        return Records(), False, str(error)
    return (
        records,
        True,
        f"{records.received} of {records.produced} arrived, none twice",
    )


def _end(screen: ActScreen, name: str, *, ok: bool, line: str) -> ActResult:
    took = screen.end(ok=ok, line=line)
    return ActResult(name=name, ok=ok, duration_s=round(took, 1), line=line)
