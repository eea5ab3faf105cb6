"""The experiment database: typed reference JSONs, tables over them, plots and the command."""
