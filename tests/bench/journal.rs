//! The costs of the journal (docs/measures.md, "Bars"), as ratios of one run:
//!
//!     cargo bench --bench journal [-- ENTRIES [DIRECTORY]]
//!
//! - With ENTRIES records that wait (100,000): the time and the memory that a start takes, the size on disk for the payload,
//!   and the size that is left when they are delivered and the journal has started again.
//! - Durable enqueue, against a bare append and fsync of the same bytes, one by one and with eight at once.
//!
//! DIRECTORY should be on the disk to be measured; by default it is beside the build. The second ratio depends on the disk: each
//! transaction is two writes by sled's own threads, about 150 us on an x86_64 core whatever the disk. The ratio was 0.35 one by
//! one on a disk with an fsync of 90 us (ext4 without a journal, on a host's cache), and 1.02 on one of 4 ms (ext4 as it is
//! made, in a file). SD cards take longer still.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(unreachable_pub, reason = "a benchmark exports nothing; the support of the tests says `pub`")]

#[path = "../it/support/journal.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use print_release_agent::domain::{EntryId, JobRecord, Outcome};
use print_release_agent::journal::{Journal, Limits};
use support::{close, disk_bytes, release};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The entries when the command line names no number.
const ENTRIES: u64 = 100_000;

/// The releases in one durable write, and the calls that are under way at once.
const TOGETHER: u64 = 500;

/// The durable writes that are timed, for each way.
const WRITES: u64 = 400;

/// The entries that come at once in the second measurement of durable writes.
const AT_ONCE: u64 = 8;

fn main() {
    // `cargo bench` and `cargo test --benches` add arguments of their own.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let entries = words.next().and_then(|word| word.parse().ok()).unwrap_or(ENTRIES);
    let place = words.next().map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(place).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match std::env::var_os("PRINT_RELEASE_BENCH_START") {
        // A process of its own, so that nothing but the start is in its memory.
        Some(state_dir) => start(Path::new(&state_dir), &runtime),
        None => {
            waiting(&dir.path().join("waiting"), entries, &runtime);
            enqueue(dir.path(), &runtime);
        }
    }
}

fn open(dir: &Path) -> Journal {
    Journal::open(dir, Limits { max_entries: u32::MAX, max_age: Duration::from_secs(30 * 24 * 3600) }, None).unwrap()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Does something with all of these, [`TOGETHER`] at a time.
async fn each<F: Future<Output = ()> + Send + 'static>(ids: &[EntryId], act: impl Fn(EntryId) -> F) {
    for some in ids.chunks(usize::try_from(TOGETHER).unwrap()) {
        some.iter().map(|id| act(*id)).collect::<JoinSet<()>>().join_all().await;
    }
}

/// Fills a journal with records, and returns the bytes of these records as JSON.
async fn fill(journal: &Journal, entries: u64) -> u64 {
    let mut bytes = 0;
    for first in (0..entries).step_by(usize::try_from(TOGETHER).unwrap()) {
        let releases: Vec<_> = (first..(first + TOGETHER).min(entries)).map(release).collect();
        let records: Vec<_> = releases.iter().map(|release| JobRecord::of(release, release.time)).collect();
        bytes += records.iter().map(|record| serde_json::to_vec(record).unwrap().len() as u64).sum::<u64>();
        let ids = journal.store_releases(releases).await.unwrap();
        let ends = ids.into_iter().zip(records).map(|(id, record)| {
            let journal = journal.clone();
            async move { journal.end_release(id, Outcome::Accepted, Some(record)).await.unwrap() }
        });
        ends.collect::<JoinSet<()>>().join_all().await;
    }
    bytes
}

fn waiting(dir: &Path, entries: u64, runtime: &Runtime) {
    let journal = open(dir);
    let payload = runtime.block_on(fill(&journal, entries));
    close(journal, dir);
    println!("{entries} records wait: {} KiB of payload", payload >> 10);
    println!("  disk / payload                      {:.2}", disk_bytes(dir) as f64 / payload as f64);
    for what in ["first start", "second start"] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        print!("  {what:<36}");
        std::io::stdout().flush().unwrap();
        assert!(child.env("PRINT_RELEASE_BENCH_START", dir).status().unwrap().success());
    }
    let journal = open(dir);
    runtime.block_on(async {
        loop {
            let records = journal.oldest_records(usize::try_from(TOGETHER).unwrap()).await.unwrap();
            if records.is_empty() {
                return;
            }
            let ids: Vec<_> = records.iter().map(|stored| stored.id).collect();
            each(&ids, |id| {
                let journal = journal.clone();
                async move { journal.acknowledge_record(id).await.unwrap() }
            })
            .await;
        }
    });
    close(journal, dir);
    println!("  delivered: disk / payload           {:.2}", disk_bytes(dir) as f64 / payload as f64);
    close(open(dir), dir);
    println!("  after the next start                {:.2}", disk_bytes(dir) as f64 / payload as f64);
}

fn start(dir: &Path, runtime: &Runtime) {
    let before = resident_kib();
    let began = Instant::now();
    let journal = open(dir);
    let took = began.elapsed();
    assert!(runtime.block_on(journal.oldest_record()).unwrap().is_some());
    println!("{} ms, {} KiB resident ({before} KiB before)", took.as_millis(), resident_kib());
    close(journal, dir);
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Measures the ways to write an entry durably in turn, so that a disk that changes its pace changes it for all.
fn enqueue(dir: &Path, runtime: &Runtime) {
    let state_dir = dir.join("enqueue");
    let journal = open(&state_dir);
    let mut file = File::create(dir.join("bare")).unwrap();
    let (mut bare, mut one, mut eight_bare, mut eight) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..WRITES {
        let number = number * 2 * (AT_ONCE + 1);
        let bytes = serde_json::to_vec(&release(number)).unwrap();
        let began = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
        bare.push(began.elapsed());

        let began = Instant::now();
        runtime.block_on(journal.store_releases(vec![release(number)])).unwrap();
        one.push(began.elapsed());

        let began = Instant::now();
        for _ in 0..AT_ONCE {
            file.write_all(&bytes).unwrap();
        }
        file.sync_all().unwrap();
        eight_bare.push(began.elapsed());

        let began = Instant::now();
        runtime.block_on(async {
            let store = |number| {
                let journal = journal.clone();
                async move { drop(journal.store_releases(vec![release(number)]).await.unwrap()) }
            };
            (number + 1..=number + AT_ONCE).map(store).collect::<JoinSet<()>>().join_all().await;
        });
        eight.push(began.elapsed());
    }
    close(journal, &state_dir);
    println!("durable enqueue, bare append and fsync of the same bytes = 1 ({:.0} us)", 1e6 * median(bare.clone()));
    println!("  one by one                          {:.2}", median(bare.clone()) / median(one));
    println!(
        "  {AT_ONCE} at once, an fsync for each         {:.2}",
        AT_ONCE as f64 * median(bare) / median(eight.clone())
    );
    println!("  {AT_ONCE} at once, one fsync for all         {:.2}", median(eight_bare) / median(eight));
}
