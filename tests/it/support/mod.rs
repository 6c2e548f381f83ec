//! What tests share: the real program, scratch projects, servers, workflows, and looking at what came out.

mod files;
mod graphs;
mod program;
mod project;
pub(crate) mod proxy;
mod running;
mod server;
mod spoken;

pub(crate) use files::{files, names, pictures};
pub(crate) use graphs::{CARD, blurred, quick, slow};
pub(crate) use program::{Done, finish, kiln, quiet, repository, settled};
pub(crate) use project::Project;
pub(crate) use running::{Running, signal, wait_for};
pub(crate) use server::Server;
pub(crate) use spoken::Spoken;
