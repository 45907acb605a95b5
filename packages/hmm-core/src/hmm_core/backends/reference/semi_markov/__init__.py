"""The definition of the recursions with explicit durations."""
