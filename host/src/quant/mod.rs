//! Stage 2: bit widths as an environment.
