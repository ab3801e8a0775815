//! Collections that many snapshots of a configuration share: a copy costs next to nothing, a change of the copy only what lies
//! on the way to it (docs/decisions/0147).

mod array;
mod map;
#[cfg(test)]
mod tests;

pub use array::SharedArray;
pub use map::SharedMap;
