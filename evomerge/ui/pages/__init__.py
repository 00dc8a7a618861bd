"""The pages, one module each: what is asked for, and the values that its template shows."""
