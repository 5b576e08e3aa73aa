"""The demo: a broker, a server and three agents on one machine, over real frames."""
