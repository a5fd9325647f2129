"""The model that ships with olla: `spark`, small enough to be part of the package. Data only."""
