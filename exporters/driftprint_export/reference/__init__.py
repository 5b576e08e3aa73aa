"""The recipes of the reference bundles that come with the install."""
