"""What looks on while a run trains: logs, bars, trackers, plots, remote copies."""
