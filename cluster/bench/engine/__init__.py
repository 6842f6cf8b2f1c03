"""The engine beside its peers and the limit of the machine: rounds, processes, tables."""
