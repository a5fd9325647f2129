"""The olla workstation and command line."""
