"""A net that remembers and one that does not: ``tests.fakes.stateful_net FOLDER``.

Writes ``sum.tflite``, whose variable holds the sum of all inputs so far, and
``lstm.tflite``, a Keras LSTM, which forgets: a loop inside the graph. Made once, into
``tests/data/stateful``, because TensorFlow is needed.
"""

import sys
from pathlib import Path

from trainer.pipeline.session import start_tensorflow


def main(folder: Path) -> None:
    """Build, convert and write."""
    start_tensorflow(1)
    import keras
    import tensorflow as tf

    class Sum(tf.Module):  # type: ignore[misc] # TensorFlow has no types
        """Adds up what it is given."""

        def __init__(self) -> None:
            super().__init__()
            self.total = tf.Variable(tf.zeros([1, 4]))

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)])  # type: ignore[untyped-decorator]
        def add(self, x: object) -> dict[str, object]:
            """Return the sum with another sample."""
            return {"y": self.total.assign_add(x)}

    net = Sum()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [net.add.get_concrete_function()], net
    )
    converter.experimental_enable_resource_variables = True
    (folder / "sum.tflite").write_bytes(converter.convert())

    inputs = keras.Input((8, 3), batch_size=1)
    lstm = keras.Model(inputs, keras.layers.LSTM(5)(inputs))
    converter = tf.lite.TFLiteConverter.from_keras_model(lstm)
    (folder / "lstm.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
