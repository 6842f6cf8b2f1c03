"""Where the graph runs that is not this machine: Kubernetes, virtual machines, a container image."""
