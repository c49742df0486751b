"""At most once: what a request with an Idempotency-Key did and answered, for requests that are sent again."""
