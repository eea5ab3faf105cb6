"""Many steps: the loop over a run's data, how it begins and resumes, its metrics and its validation."""
