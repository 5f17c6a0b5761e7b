//! Faults that are planted on purpose, to see that the tests find them. A check that finds nothing planted proves nothing.
//!
//! A fault stands where it would be made, as `if planted::is("its-name")`. Without the feature `planted`, which no package
//! builds, every such condition is false when it is compiled, and neither code nor name is in the program
//! (`tests/it/simulate.rs`).

/// The variable with the names of the planted faults, separated by commas.
#[cfg(feature = "planted")]
const PLANTED: &str = "PRINT_RELEASE_PLANTED";

/// Whether the fault of this name is planted in this process.
#[cfg(feature = "planted")]
pub fn is(name: &str) -> bool {
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let read = || std::env::var(PLANTED).unwrap_or_default().split(',').map(str::to_owned).collect();
    NAMES.get_or_init(read).iter().any(|planted| planted == name)
}

/// Never: this program has no planted faults.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_name: &str) -> bool {
    false
}
