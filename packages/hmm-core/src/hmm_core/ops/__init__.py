"""The public operations: defaults, validation, differentiation and prose."""
