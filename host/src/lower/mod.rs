//! From a float network to an integer blob.
