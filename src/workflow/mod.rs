//! A workflow: the graph that a server executes, in API format.
//!
//! This room reads graphs ([`parse`]), finds nodes in them the way people name them ([`address`]), finds the place in the file that
//! a JSON pointer means ([`locate`]), fits values to declared inputs ([`fit`]), takes workflows out of pictures and films ([`media`]),
//! converts what the editor saves ([`import`]) and knows what a server answers to a graph ([`verdict`]). It must never know pipelines,
//! plans or connections: everything here is a function of texts, graphs and a catalog.
//! Places are only looked for when a diagnostic is printed; a graph itself carries none.

mod address;
mod api;
mod bypass;
mod fit;
mod graph;
pub mod import;
mod load;
mod locate;
pub mod media;
mod scan;
pub mod verdict;

pub use address::{AddressError, Names, Tier, address};
pub use api::{
    ParseProblem, from_request, is_link, lenient, parse, problem_diagnostic, read,
    read_for_verdict, without_strangers,
};
pub use bypass::{Bypassed, Dropped, Why, bypass};
pub use fit::fit;
pub use graph::{Graph, Node, SharedNode};
pub use load::{LoadError, Loaded, load, load_stdin};
pub use locate::{Finder, Finders, locate, locate_key, pointer, span_in_string, span_of};
