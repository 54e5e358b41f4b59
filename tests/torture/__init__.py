"""kill -9 of everything, again and again; then what was committed is counted."""
