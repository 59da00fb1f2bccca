//! Boards, virtual and real, behind one trait.
