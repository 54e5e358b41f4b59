"""``hub demo``: the whole loop on real data, with real processes, judged act by act.

The demo starts a broker, a hub and eight agents, and then only does what people would
do: it moves sensors, brings late labels, starts rollouts, and reads the hub's database.
"""
