"""Files of queries, passages and candidates, read, checked and joined."""
