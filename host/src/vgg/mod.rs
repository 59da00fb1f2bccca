//! The VGG family: configuration, network, costs, import.
