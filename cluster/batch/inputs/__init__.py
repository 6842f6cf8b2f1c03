"""Read, check and join the job's input files."""
