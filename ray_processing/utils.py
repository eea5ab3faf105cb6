"""Empty: code written for DCLM imports this module; what the drivers share is in `ray_processing.datasets`."""
