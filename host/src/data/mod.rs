//! Images and labels: loaders for three layouts, and augmentation.
