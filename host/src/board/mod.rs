//! Boards, virtual and real, behind one trait.

pub mod virt;
