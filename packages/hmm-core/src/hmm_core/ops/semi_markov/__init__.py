"""The public operations with explicit durations."""
