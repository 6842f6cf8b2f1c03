"""Training sets: from queries with relevant passages to groups of candidates with labels and teacher scores."""
