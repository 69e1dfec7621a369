"""Model configurations, the family registry and the family files."""
