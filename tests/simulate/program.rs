//! The simulated world as a program: docs/architecture.md, "The simulated world".

fn main() -> std::process::ExitCode {
    print_release_agent::simulate::main()
}
