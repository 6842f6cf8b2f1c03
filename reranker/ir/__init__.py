"""Files and measures of information retrieval: records, queries, corpora, runs, qrels, nDCG."""
