//! The `bandfeed` program's commands.

pub mod chart;
pub mod fit;
pub mod schedule;
