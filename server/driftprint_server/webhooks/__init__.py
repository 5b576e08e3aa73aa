"""Alerts, posted to other programs over HTTP."""
