"""Models made elsewhere become bundles: read, measured, recorded, written.

Nothing is believed of a file but its bytes: what goes in and comes out is read from the
model on the device's runtime, and so are the golden answers and the reference profile.
"""
