//! `kiln watch`: the real program, real files, and every way in which they are saved.

mod busy;
mod keys;
mod later;
mod many;
mod saves;
mod session;
mod watched;

pub(crate) use watched::Watched;
