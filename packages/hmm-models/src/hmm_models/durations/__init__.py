"""How long a state lasts."""
