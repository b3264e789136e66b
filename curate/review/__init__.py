"""Review: what people said of cases in the report, as decisions for `prepare`."""
