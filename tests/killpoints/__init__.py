"""Kill -9 at every effect of an activation, counted by the device itself as it runs.

``killer.c`` counts what the process does to its state folder, and each mark that the
program makes; ``device.py`` is the device, ``server.py`` forks one for each kill from a
process that has everything imported, ``bench.py`` drives it and judges what is left.
"""
