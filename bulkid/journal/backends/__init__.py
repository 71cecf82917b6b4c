"""The databases that can hold the journal. ``base`` says what a backend does and chooses one; start reading there."""
