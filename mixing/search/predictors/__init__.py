"""From measured mixtures to a guess of all others: Gaussian process, bagged trees, log-linear laws, averages."""
