"""What the fleet has said, over event time: windows and alerts in SQLite or PostgreSQL, to ask for and to export."""
