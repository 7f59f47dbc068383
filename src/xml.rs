//! Text to model and back. Pure.
