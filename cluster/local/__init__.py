"""A cluster on one machine: a head and card nodes as processes of their own, and the production graph on them."""
