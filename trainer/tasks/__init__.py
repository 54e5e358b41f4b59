"""Tasks: what is learned, from which data, by which net. See :mod:`.task`.

:mod:`trainer.tasks.registry` lists them; a new task is a module and a line there.
"""
