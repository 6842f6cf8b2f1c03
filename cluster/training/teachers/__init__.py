"""Teachers: what scores the candidates of a training set, the files of scores, and the targets made of them."""
