"""Widgets that know no service: transcript, composer, meters, tables."""
