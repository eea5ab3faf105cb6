"""What a run is to do: its config, its phases, and the names that flags choose from."""
