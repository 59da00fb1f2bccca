//! Cortex-M4 cycle model.
