//! A workflow: the graph that a server executes, in API format.

mod graph;

pub use graph::{Graph, Node};
