//! Rewards: from accuracy and measured costs to one number.
