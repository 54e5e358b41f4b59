"""How large updates are: patches of fine-tunes of two nets against the whole file.

Two nets of the task ``watch`` are trained on right arms: a convolutional one of more
than 100,000 parameters, and the demo's. Each then goes on from its weights with left
arms too, by each ``finetune.scope``, or is trained anew. Training, conversion and
patches are the product's own code; the same run gives the same bytes again.
``scripts/make_demo_models.py`` keeps some of the files for tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edge_agent.delta.build import build_patch
from hub.cli.output import print_table
from tests.perf.report import Metric
from trainer.gate.evaluate import ask, latencies_us
from trainer.pipeline.dataset import TrainingSet, assemble
from trainer.pipeline.session import start_tensorflow
from trainer.settings import Scope
from trainer.tasks.registry import open_task
from trainer.tasks.task import Block, NetParams, Task, Windows

if TYPE_CHECKING:
    import keras

SEED = 7
EPOCHS = 18
NEW_SAMPLES = 700
"""Of left arms, as many as the demo's devices send."""
MIN_PARAMETERS = 100_000
LARGE = NetParams(filters=(64, 96, 128), hidden=64, dropout=0.3)
FLOAT, INT8 = "float32", "int8"
TARGETS = {("large", INT8, "bn_head"): 0.15, ("large", INT8, "full"): 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to retrain."""

    name: str
    scope: Scope
    rate: float


METHODS = (
    Method(name="head", scope="head", rate=0.003),
    Method(name="bn_head", scope="bn_head", rate=0.003),
    Method(name="full", scope="full", rate=0.0001),
    Method(name="full_3e-4", scope="full", rate=0.0003),
    Method(name="full_1e-3", scope="full", rate=0.001),
    Method(name="anew", scope="none", rate=0.003),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One update: what the whole file and the patch take, and what it is good for."""

    net: str
    method: str
    variant: str
    full: int
    patch: int
    way: str
    accuracy: dict[str, float]

    @property
    def ratio(self) -> float:
        """The patch's share of the whole file."""
        return self.patch / self.full

    @property
    def metric(self) -> Metric:
        """The share as a figure of the bench."""
        key = (self.net, self.variant, self.method)
        return Metric(
            name="delta." + ".".join(key),
            value=round(self.ratio, 4),
            unit="of the whole file",
            at_most=TARGETS.get(key),
        )


def measure(_folder: Path) -> list[Metric]:
    """Train, convert, patch; print the table of all updates, return its shares."""
    start_tensorflow(SEED)
    data = Data(open_task("watch", {}))
    rows: list[Row] = []
    metrics: list[Metric] = []
    for name, params in (("large", LARGE), ("demo", data.task.student)):
        net = Net(name, params, data)
        metrics += net.facts()
        rows += list(net.updates())
    _print(rows)
    return [*metrics, *(row.metric for row in rows)]


class Data:
    """What nets are trained on before and after, and judged with."""

    def __init__(self, task: Task) -> None:
        """Load both arms and choose the new samples."""
        corpus = task.load()
        left = open_task("watch", {"arms": "left"}).load().train
        rng = np.random.default_rng(SEED)
        chosen = np.sort(rng.choice(len(left.x), NEW_SAMPLES, replace=False))
        new = Windows(x=left.x[chosen], y=left.y[chosen], group=left.group[chosen])
        self.task = task
        self.before = assemble(corpus.train, None)
        self.after = assemble(corpus.train, new)
        self.gate = corpus.gate


class Net:
    """One net: its first release, and what it becomes."""

    def __init__(self, name: str, params: NetParams, data: Data) -> None:
        """Train the first release."""
        from trainer.pipeline.start import pack_weights

        self._name, self._params, self._data = name, params, data
        model, self.first = self.train(data.before, 0.003)
        self._parameters = int(model.count_params())
        self._weights = pack_weights(model)

    def facts(self) -> list[Metric]:
        """Return its size, and whether int8 is what would be shipped."""
        took = latencies_us(self.first, self._data.gate[0].x)
        at_least = MIN_PARAMETERS if self._name == "large" else None
        return [
            Metric(
                name=f"delta.{self._name}.parameters",
                value=self._parameters,
                unit="",
                at_least=at_least,
            ),
            Metric(
                name=f"delta.{self._name}.int8_latency",
                value=round(took[INT8] / took[FLOAT], 3),
                unit="of float32's",
            ),
        ]

    def updates(self) -> Iterator[Row]:
        """Retrain it in each way; yield what an update takes."""
        for method in METHODS:
            click.echo(f"{self._name}: {method.name}…", err=True)
            _, files = self.train(self._data.after, method.rate, method.scope)
            for variant, file in files.items():
                built = build_patch(self.first[variant], file)
                yield Row(
                    net=self._name,
                    method=method.name,
                    variant=variant,
                    full=len(file),
                    patch=len(built.data),
                    way=built.way,
                    accuracy=_accuracy(file, self._data.gate),
                )

    def train(
        self, data: TrainingSet, rate: float, scope: Scope = "none"
    ) -> "tuple[keras.Model, dict[str, bytes]]":
        """Train anew, or go on from the first release's weights; convert."""
        import keras

        from trainer.pipeline.convert import convert
        from trainer.pipeline.start import Start
        from trainer.pipeline.train import Fitter, Recipe, one_hot

        keras.utils.clear_session()
        start = None
        if scope != "none":
            start = Start(weights=self._weights, scope=scope)
        fitter = Fitter(self._data.task, self._params, data.x, start)
        recipe = Recipe(epochs=EPOCHS, learning_rate=rate, seed=SEED)
        targets = one_hot(data, len(self._data.task.labels))
        fitter.fit(data, targets, recipe, lambda _: None)
        made = convert(self._data.task, fitter.model, data.x, (FLOAT, INT8))
        return fitter.model, made.files


def _accuracy(file: bytes, gate: tuple[Block, ...]) -> dict[str, float]:
    """Return the mean accuracy on people never trained on, by arm."""
    found: dict[str, list[float]] = {}
    for block in gate:
        said = ask(file, block.x, "probabilities").probabilities.argmax(axis=1)
        found.setdefault(block.segment, []).append(float((said == block.y).mean()))
    return {segment: float(np.mean(shares)) for segment, shares in found.items()}


def _print(rows: list[Row]) -> None:
    print_table(
        ("net", "variant", "method", "whole", "patch", "share", "way", "right", "left"),
        [
            (
                row.net,
                row.variant,
                row.method,
                f"{row.full:,}",
                f"{row.patch:,}",
                f"{row.ratio:.1%}",
                row.way,
                f"{row.accuracy['right']:.3f}",
                f"{row.accuracy['left']:.3f}",
            )
            for row in sorted(rows, key=lambda row: (row.net, row.variant))
        ],
    )
