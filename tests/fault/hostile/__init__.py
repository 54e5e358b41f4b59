"""An enrolled device that speaks the wire badly, and what a real hub makes of it."""
