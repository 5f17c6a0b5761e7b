//! Hands the arguments to [`print_release_agent::cli`] and returns its exit code.

fn main() -> std::process::ExitCode {
    print_release_agent::cli::main()
}
