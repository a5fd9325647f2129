"""JSON of `/v1/messages`, from and to domain objects."""
