"""Models as others make them: ``python -m tests.fakes.foreign_models FOLDER``.

Writes ``motion.keras`` (a classifier of windows), ``pump.keras`` (two inputs, two
outputs) and the SavedModel folder ``motion_saved`` (two signatures). In a process of
its own, because TensorFlow is needed.
"""

import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Write the models."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(5)
    motion = keras.Sequential(
        [
            keras.Input((12, 3), name="motion"),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax", name="kind"),
        ]
    )
    motion.save(folder / "motion.keras")
    flow = keras.Input((4,), name="flow")
    level = keras.Input((1,), name="level")
    hidden = keras.layers.Dense(3, activation="tanh", name="states")(
        keras.layers.Concatenate()([flow, level])
    )
    load = keras.layers.Dense(1, name="load")(hidden)
    keras.Model([flow, level], {"load": load, "states": hidden}).save(
        folder / "pump.keras"
    )

    @tf.function(  # type: ignore[untyped-decorator, unused-ignore]
        input_signature=[tf.TensorSpec([None, 12, 3], tf.float32, name="motion")]
    )
    def classify(motion_: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": motion(motion_, training=False)}

    @tf.function(  # type: ignore[untyped-decorator, unused-ignore]
        input_signature=[tf.TensorSpec([None, 12, 3], tf.float32, name="motion")]
    )
    def spread(motion_: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"spread": tf.math.reduce_std(motion_, axis=1)}

    module = tf.Module()
    module.kept = [variable.value for variable in motion.variables]
    tf.saved_model.save(
        module,
        folder / "motion_saved",
        signatures={
            "classify": classify.get_concrete_function(),
            "spread": spread.get_concrete_function(),
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
