"""The edge agent: frame -> model and fingerprint -> decision -> outbox -> MQTT."""
