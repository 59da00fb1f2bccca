//! Agents that walk a network's layers and choose an action for each.
