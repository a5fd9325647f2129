"""What crosses boundaries: frozen structs without behaviour beyond parsing."""
