"""The gate: measures models with the device's own interpreter, and judges them."""
