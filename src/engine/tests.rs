//! The engine with a kind that only tests have.
