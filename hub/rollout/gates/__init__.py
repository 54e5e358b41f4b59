"""The gates of a stage: each reads the same facts and says PROMOTE, HOLD or ABORT."""
