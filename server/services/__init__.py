"""The one service layer that HTTP, CLI and the workstation share."""
