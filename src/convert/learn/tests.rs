//! x
use super::*;
#[test]
fn look() {
    for (steps, read, expected) in crate::convert::tests::vectors() {
        if expected == "error" || steps.contains(": ") {
            continue;
        }
        let t = std::time::Instant::now();
        let l = learn(&[(read.clone(), expected.clone())]);
        println!("== {steps}  {read} -> {expected} {:?}", t.elapsed());
        for a in l.fits.iter().take(6) {
            println!("     {}   [{}] {}", a.conversion, a.digits, a.note);
        }
        for a in l.partial.iter().take(3) {
            println!("   ~ {}   [{}] {}", a.conversion, a.digits, a.note);
        }
    }
}
