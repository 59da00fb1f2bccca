//! The run folder: configuration, log, checkpoint, resume.
