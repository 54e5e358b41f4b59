"""Power cuts: what a process wrote is recorded, and cut images are made of it."""
