"""Samples at the time at which they were true, to VictoriaMetrics, Mimir or Prometheus, by remote write."""
