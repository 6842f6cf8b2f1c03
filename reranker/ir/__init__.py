"""The field's files and measures: records, queries, corpora, runs, qrels, nDCG."""
