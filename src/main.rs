//! The `kiln` program: everything is in the library.

fn main() -> std::process::ExitCode {
    kiln::cli::main()
}
