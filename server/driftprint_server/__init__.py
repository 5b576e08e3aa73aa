"""The server: MQTT -> fleet state -> store, acknowledgements, Prometheus and the page."""
