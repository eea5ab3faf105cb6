"""The search for mixture weights: space, runs, strategies, the loop that resumes, and what it reports."""
