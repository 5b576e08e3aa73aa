"""The Grafana dashboards: written here, generated into `json/` by ``make dashboards``. docs/grafana.md."""
