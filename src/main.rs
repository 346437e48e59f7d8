//! The `berth` command: the server, and the client of its management API.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
