//! The `kiln` program: everything is in the library.

/// Runs of very many tasks make and drop millions of small things on several threads: the system's own allocator takes a third of their
/// time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kiln::cli::main()
}
