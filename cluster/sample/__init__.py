"""NovelEval, a small public collection: 21 queries, 20 judged passages each (Apache-2.0, see NOTICE)."""
