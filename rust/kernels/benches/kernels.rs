//! Placeholder until the benches land in this file.
fn main() {}
