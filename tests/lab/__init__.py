"""A GPU that is not there, and tables that were never measured."""
