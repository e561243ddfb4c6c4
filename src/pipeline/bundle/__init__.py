"""What reviewers get: the archive, its documents and its verification."""
