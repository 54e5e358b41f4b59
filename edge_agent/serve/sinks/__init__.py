"""Where predictions go besides the local API's replies."""
