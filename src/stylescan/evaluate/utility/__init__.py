"""Do generated images show their class, and can they teach it? Answered with a small classifier, subject by subject."""
