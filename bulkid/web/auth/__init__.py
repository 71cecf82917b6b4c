"""Who may use the console: sign-in, sessions, API tokens, roles, approval. Start with ``access``."""
