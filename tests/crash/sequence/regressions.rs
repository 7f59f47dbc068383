//! Sequences that once went wrong, each with its story.
