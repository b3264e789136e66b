"""The manifest: its rows, schema, SQL, summary and validation."""
