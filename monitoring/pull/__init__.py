"""Metrics that Lastgood fetches: from Prometheus by PromQL, and from the pages of figures of hosts and exporters."""
