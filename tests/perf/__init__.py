"""What Shoal costs, as ratios against a baseline of the same run: ``scripts/bench``."""
