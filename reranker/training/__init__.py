"""Train cross-encoders by learning to rank and knowledge distillation.

Pure: groups of candidates in, gradients out. Knows nothing of Ray, files of queries, or how many workers there are;
`cluster/training` does.
"""
