"""JSON of `/v1/responses`, from and to domain objects."""
