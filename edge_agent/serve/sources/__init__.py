"""Where samples come from besides the local API; each source is one thread's body."""
