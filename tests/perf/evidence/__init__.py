"""``scripts/bench evidence``: how far the paired test can be trusted, measured offline.

Streams of real order, small stand-in nets and the project's own statistics and judge:
thousands of devices are judged in minutes, each by the paired rule, by the rule that it
replaced and by a rule on class histograms. Imported by nothing but the bench and tests.
"""
