"""The OpenAPI document: what each route takes and gives. Pure."""
