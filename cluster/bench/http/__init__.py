"""`reranker bench http`: the HTTP endpoint under closed-loop and open-loop load."""
