//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    print_release_agent::cli::main()
}
