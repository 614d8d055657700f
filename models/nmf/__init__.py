"""Non-negative matrix factorisation as a testbed: V ~ W H, f = 1/2 |V - W H|², and the largest rates that are stable.

V is called `values` (n_rows, n_columns), W `loadings` (n_rows, rank), H `parts` (rank, n_columns). A rate multiplies
the gradient of f, or an estimate of it from a batch whose mean is that gradient. |.| is the Frobenius norm, |.|₂ the
spectral norm. One file a way of training, each with a `largest_stable_learning_rate` and its derivation.
"""
