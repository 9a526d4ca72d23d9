//! bandfeed
fn main() {}
