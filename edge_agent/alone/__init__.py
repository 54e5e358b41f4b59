"""``edge-agent run --model``: a model file served alone, without hub and broker."""
