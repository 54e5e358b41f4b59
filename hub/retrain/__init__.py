"""From an alert to a new bundle: collect samples, run the trainer, take its bundle."""
