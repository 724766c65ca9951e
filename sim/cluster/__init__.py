"""Many replicas: pools, routers, handoffs, and the deployments that put them together."""
