"""How many devices one server can hear out."""
