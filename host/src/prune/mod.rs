//! Stage 1: channel and element pruning as an environment.
