//! Differentiable operators, optimizers and randomness for candle.
