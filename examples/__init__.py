"""Examples that run out of the box."""
