//! The reasons of `docs/operating.md` are the closed set of the program.

use print_release_agent::domain::Reason;

use super::{first_words, rows, same, set};
use crate::support::limit;

#[test]
fn reasons_are_the_closed_set_of_the_program() {
    let _limit = limit();
    let real = set(Reason::ALL.iter().map(Reason::word));
    same("reasons", &first_words(&rows("Reasons", "reason")), &real);
}
