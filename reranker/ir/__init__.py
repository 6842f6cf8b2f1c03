"""Files and measures of information retrieval: tables, queries, corpora, runs, qrels, nDCG."""
