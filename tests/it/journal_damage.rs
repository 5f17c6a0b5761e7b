//! A damaged database is set aside whole, the entries that can be read are carried over, and the box goes on
//! (docs/architecture.md, "Promises").

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use print_release_agent::domain::{EntryId, JobRecord, Outcome, Reason};
use print_release_agent::journal::{ASIDE_LIMIT, Journal, JournalError, Limits};

use crate::support::journal::{close, config, copy_db, open, record, records, release, runtime, store_record};
use crate::support::table::Row;
use crate::support::{limit, program, skipped};

/// Records that wait in the database before it is damaged. They fill more than one of sled's segments.
const WAITING: u64 = 1_000;

/// Records that were acknowledged before.
const DELIVERED: u64 = 200;

/// A journal with releases, records and acknowledged records, closed.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    runtime().block_on(async {
        for first in (0..DELIVERED + WAITING).step_by(50) {
            let ids = journal.store_releases((first..first + 50).map(release).collect()).await.unwrap();
            for (number, id) in (first..).zip(ids) {
                journal.end_release(id, Outcome::Accepted, Some(record(number))).await.unwrap();
            }
        }
        for _ in 0..DELIVERED {
            let oldest = journal.oldest_record().await.unwrap().unwrap();
            journal.acknowledge_record(oldest.id).await.unwrap();
        }
        journal.store_releases(vec![release(DELIVERED + WAITING)]).await.unwrap();
    });
    close(journal, dir.path());
    dir
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.filter(|entry| entry.path().is_file()).map(|entry| PathBuf::from(entry.file_name())).collect()
}

fn snapshots(db: &Path) -> Vec<PathBuf> {
    files(db).into_iter().filter(|name| name.to_string_lossy().starts_with("snap.")).map(|name| db.join(name)).collect()
}

fn overwrite(path: &Path, at: u64, with: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(with).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn aside(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("db.damaged-")).collect()
}

/// The records that must be left after a damage: all, those that can be read, or none because there is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    All,
    Some,
    Nothing,
}

/// Something that happens to files of a closed database.
type Damage = fn(&Path);

#[test]
fn whatever_happens_to_its_files_the_journal_opens_tells_it_and_carries_over_what_can_be_read() {
    let _limit = limit();
    let damages: [(&str, Left, Damage); 16] = [
        ("its file is empty", Left::Nothing, |db| drop(File::create(db.join("db")).unwrap())),
        ("its file is gone", Left::Nothing, |db| fs::remove_file(db.join("db")).unwrap()),
        ("its file is a folder", Left::Nothing, |db| {
            fs::remove_file(db.join("db")).unwrap();
            fs::create_dir(db.join("db")).unwrap();
        }),
        ("all in it is gone", Left::Nothing, |db| {
            files(db).iter().for_each(|name| fs::remove_file(db.join(name)).unwrap());
        }),
        ("cut to three bytes", Left::Nothing, |db| cut(&db.join("db"), 3)),
        ("cut to half", Left::Some, |db| cut(&db.join("db"), length(&db.join("db")) / 2)),
        ("cut to nine tenths", Left::Some, |db| cut(&db.join("db"), length(&db.join("db")) / 10 * 9)),
        ("start overwritten", Left::Some, |db| overwrite(&db.join("db"), 0, &[0x55; 65_536])),
        ("every second page overwritten", Left::Some, |db| {
            let file = db.join("db");
            (0..length(&file)).step_by(8_192).for_each(|at| overwrite(&file, at, &[0x55; 4_096]));
        }),
        ("a segment zeroed", Left::Some, |db| overwrite(&db.join("db"), 524_288, &[0; 524_288])),
        ("all overwritten", Left::Nothing, |db| {
            let file = db.join("db");
            overwrite(&file, 0, &vec![0x55; usize::try_from(length(&file)).unwrap()]);
        }),
        ("no settings", Left::All, |db| fs::remove_file(db.join("conf")).unwrap()),
        ("settings overwritten", Left::All, |db| overwrite(&db.join("conf"), 0, &[0x55; 16])),
        ("no blobs", Left::All, |db| fs::remove_dir(db.join("blobs")).unwrap()),
        ("snapshot overwritten", Left::All, |db| {
            snapshots(db).iter().for_each(|path| overwrite(path, 10, &[0x55; 64]));
        }),
        ("half a snapshot beside it", Left::All, |db| {
            fs::write(db.join("snap.0000000000000001.generating"), [0x55; 64]).unwrap();
        }),
    ];
    let whole = filled();
    let runtime = runtime();
    let tried = damages.len();
    for (name, expected, damage) in damages {
        let dir = copy_db(whole.path());
        let db = dir.path().join("db");
        damage(&db);
        let damaged = files(&db);
        let journal = open(dir.path());
        let counts = *journal.counts().borrow();
        let left = runtime.block_on(records(&journal));
        let waited: BTreeSet<_> = (DELIVERED..DELIVERED + WAITING).map(|number| format!("document-{number}")).collect();
        let found = left.iter().filter(|(_, document)| waited.contains(document)).count();
        match expected {
            Left::All => assert_eq!((left.len(), found), (waited.len(), found), "{name}"),
            // A delivered one may come back if the traces of its delivery are the part that was lost.
            Left::Some => assert!(found > waited.len() / 10, "{name}: only {found} are left"),
            Left::Nothing => assert_eq!(left.len(), 0, "{name}"),
        }
        let verified = runtime.block_on(journal.verify()).unwrap();
        let folders = aside(dir.path());
        assert_eq!(counts.set_aside, folders.len(), "{name}");
        // A database that opened holds everything; one that was set aside is there as it was, and is reported.
        match folders.first() {
            None => assert_eq!((left.len(), verified.problems), (waited.len(), 0), "{name}: {:?}", verified.details),
            Some(folder) => {
                assert!(verified.details.iter().any(|line| line.contains("db.damaged-")), "{name}");
                // The files are not compared byte for byte, because sled may have repaired a little, and renewed its
                // snapshot, before it gave up.
                let kept = files(folder);
                let is_snapshot = |path: &Path| path.to_string_lossy().starts_with("snap.");
                assert!(damaged.iter().all(|path| is_snapshot(path) || kept.contains(path)), "{name}: not kept whole");
                let listing = runtime.block_on(journal.list(0)).unwrap();
                assert!(
                    listing.records.iter().all(|stored| stored.attempted.is_some() && stored.carried_over.is_some()),
                    "{name}: sent without a look"
                );
                assert!(
                    listing.releases.iter().all(|stored| stored.carried_over.is_some()),
                    "{name}: ended as if nothing were"
                );
                println!("{name}: {found} of {} left, {} delivered ones came back", waited.len(), left.len() - found);
            }
        }
        let last = left.last().map_or(0, |(id, _)| *id);
        runtime.block_on(store_record(&journal, 9_999));
        let (id, document) = runtime.block_on(records(&journal)).pop().unwrap();
        assert!(id > last && document == "document-9999", "{name}: the new record is not the last");
        close(journal, dir.path());
        let again = open(dir.path());
        assert_eq!(runtime.block_on(records(&again)).len(), left.len() + 1, "{name}: not the same after a restart");
    }
    Row::held("damages of the database", tried).tell();
}

#[test]
fn a_database_that_is_gone_as_a_whole_is_told_and_a_first_start_is_not() {
    let _limit = limit();
    let verify = |dir: &Path| {
        let config = config(dir);
        let arguments = ["--config", config.to_str().unwrap(), "queue", "verify"];
        Command::new(program()).args(arguments).output().unwrap()
    };
    for left in ["mark", "reserve"] {
        let dir = tempfile::tempdir().unwrap();
        // A first start that came no further leaves this.
        drop(File::create(dir.path().join("lock")).unwrap());
        assert_eq!(verify(dir.path()).status.code(), Some(0));
        let journal = open(dir.path());
        assert_eq!(journal.counts().borrow().set_aside, 0, "a first start");
        runtime().block_on(store_record(&journal, 0));
        close(journal, dir.path());
        for gone in ["db", "mark", "reserve"].into_iter().filter(|name| *name != left) {
            let path = dir.path().join(gone);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        let output = verify(dir.path());
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{left}: {told}");
        assert!(told.contains("gone"), "{left}: {told}");
        let journal = open(dir.path());
        assert_eq!(journal.counts().borrow().set_aside, 1, "{left}");
        close(journal, dir.path());
    }
}

#[test]
fn of_too_many_damaged_databases_the_oldest_go_and_are_counted() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()), dir.path());
    let mut first = Vec::new();
    for damages in 1..=ASIDE_LIMIT + 2 {
        cut(&dir.path().join("db/db"), 0);
        let journal = open(dir.path());
        let counts = *journal.counts().borrow();
        let lost = u64::from(damages > ASIDE_LIMIT);
        assert_eq!((counts.set_aside, counts.lost), (damages.min(ASIDE_LIMIT), lost), "after {damages}");
        close(journal, dir.path());
        if damages == 1 {
            first = aside(dir.path());
        }
    }
    assert!(!first[0].exists(), "the oldest is not the one that went");
}

#[test]
fn the_damage_stands_in_the_status_until_its_folder_is_removed() {
    let _limit = limit();
    let whole = filled();
    let dir = copy_db(whole.path());
    cut(&dir.path().join("db/db"), 0);
    let journal = open(dir.path());
    let runtime = runtime();
    assert_eq!(journal.counts().borrow().set_aside, 1);
    for folder in aside(dir.path()) {
        fs::remove_dir_all(folder).unwrap();
    }
    assert_eq!(runtime.block_on(journal.verify()).unwrap().problems, 0);
    assert_eq!(journal.counts().borrow().set_aside, 0);
}

/// Changes an entry of a closed journal so that it cannot be read, as if a newer agent had written it. Its length stays, so that
/// the tally agrees.
fn make_unreadable(dir: &Path, table: &str, id: EntryId) {
    let db = sled::open(dir.join("db")).unwrap();
    let tree = db.open_tree(table).unwrap();
    let mut bytes = tree.get(id.to_be_bytes()).unwrap().unwrap().to_vec();
    bytes[0] = u8::MAX;
    tree.insert(id.to_be_bytes(), bytes).unwrap();
}

#[test]
fn a_record_is_kept_even_where_its_release_is_gone_or_cannot_be_read() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    let releases: Vec<_> = (0..3).map(release).collect();
    let made: Vec<_> = releases.iter().map(|release| JobRecord::of(release, release.time)).collect();
    let ids = runtime.block_on(journal.store_releases(releases)).unwrap();
    close(journal, dir.path());
    make_unreadable(dir.path(), "releases", ids[0]);
    let journal = open(dir.path());
    runtime.block_on(async {
        journal.end_release(ids[1], Outcome::Failed(Reason::Interrupted), None).await.unwrap();
        for (record, id) in made.iter().zip(&ids) {
            // It is ended twice, because the answer to the first call may have been lost.
            for _ in 0..2 {
                journal.end_release(*id, Outcome::Accepted, Some(record.clone())).await.unwrap();
            }
        }
        let found: Vec<_> = journal.list(0).await.unwrap().records;
        let documents: Vec<_> = found.iter().map(|stored| stored.record.document.as_str()).collect();
        assert_eq!(documents, ["document-0", "document-1", "document-2"]);
        // The first two are in doubt, because nobody knows why their releases were gone.
        let in_doubt: Vec<_> = found.iter().map(|stored| stored.attempted.is_some()).collect();
        assert_eq!(in_doubt, [true, true, false]);
        assert_eq!(journal.counts().borrow().unreadable, 1);
        // A record that was delivered or refused does not come again.
        journal.acknowledge_record(found[0].id).await.unwrap();
        journal.bury_record(found[1].id, "no".to_owned()).await.unwrap();
        for (record, id) in made.iter().zip(&ids) {
            journal.end_release(*id, Outcome::Accepted, Some(record.clone())).await.unwrap();
        }
        assert_eq!(records(&journal).await.len(), 1);
    });
}

/// A closed journal of three records, and the number of the first.
fn three_records() -> (tempfile::TempDir, EntryId) {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let first = runtime().block_on(async {
        for number in 0..3 {
            store_record(&journal, number).await;
        }
        journal.oldest_record().await.unwrap().unwrap().id
    });
    close(journal, dir.path());
    (dir, first)
}

#[test]
fn an_entry_that_cannot_be_read_does_not_stop_the_others() {
    let _limit = limit();
    let (dir, first) = three_records();
    let runtime = runtime();
    make_unreadable(dir.path(), "records", first);
    let journal = open(dir.path());
    runtime.block_on(async {
        let details = journal.verify().await.unwrap().details;
        assert!(details.iter().any(|line| line.contains("could not be read")), "{details:?}");
        let oldest = journal.oldest_record().await.unwrap().unwrap();
        assert_eq!(oldest.record.document, "document-1");
        assert_eq!(journal.list(0).await.unwrap().records.len(), 2);
        assert_eq!(journal.counts().borrow().unreadable, 1);
        assert_eq!(journal.verify().await.unwrap().problems, 1);
        journal.give_up(first).await.unwrap();
        assert_eq!(journal.verify().await.unwrap().problems, 0);
    });
}

#[test]
fn an_entry_that_is_missing_is_a_damage_even_where_sled_sees_none() {
    let _limit = limit();
    let (dir, first) = three_records();
    let runtime = runtime();
    {
        let db = sled::open(dir.path().join("db")).unwrap();
        db.open_tree("records").unwrap().remove(first.to_be_bytes()).unwrap();
    }
    let journal = open(dir.path());
    assert_eq!(journal.counts().borrow().set_aside, 1);
    // Its bytes are still in the file, so it comes back.
    assert_eq!(runtime.block_on(records(&journal)).len(), 3);
}

#[test]
fn after_a_clean_stop_an_older_state_is_a_damage_though_only_one_transaction_is_missing() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    runtime.block_on(store_record(&journal, 0));
    close(journal, dir.path());
    let older = copy_db(dir.path());
    let journal = open(dir.path());
    runtime.block_on(async {
        let delivered = journal.oldest_record().await.unwrap().unwrap();
        journal.acknowledge_record(delivered.id).await.unwrap();
    });
    close(journal, dir.path());
    fs::rename(dir.path().join("db"), dir.path().join("newer")).unwrap();
    fs::rename(older.path().join("db"), dir.path().join("db")).unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.counts().borrow().set_aside, 1);
    let listing = runtime.block_on(journal.list(0)).unwrap();
    assert_eq!(listing.records.len(), 1);
    assert!(listing.records[0].attempted.is_some(), "a delivered one is sent without a look");
}

#[test]
fn a_directory_that_belongs_to_somebody_else_is_no_damage() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()), dir.path());
    let config = config(dir.path());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in ["db", "db/db", "db/conf", "db/blobs", "lock"] {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(0o700)).unwrap();
    }
    // This user owns nothing here. Only root can become another user.
    let output =
        Command::new(program()).args(["--config", config.to_str().unwrap(), "queue", "list"]).uid(65_534).output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return skipped("not root: it needs another user to be");
        }
        output => output.unwrap(),
    };
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("ermission denied"), "{told}");
    assert_eq!(aside(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_state_directory_in_use_is_no_damage() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let error = Journal::open(dir.path(), Limits::NONE, None).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    drop(journal);
}

/// More releases than the journal's cache holds, and more than are read when it is opened.
const MANY: u64 = 24_000;

async fn store_many(journal: &Journal) -> EntryId {
    let mut last = 0;
    for first in (0..MANY).step_by(500) {
        let ids = journal.store_releases((first..first + 500).map(release).collect()).await.unwrap();
        last = *ids.last().unwrap();
    }
    last
}

#[test]
fn damage_in_a_large_database_is_found_when_it_is_met() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    runtime.block_on(store_many(&journal));
    close(journal, dir.path());
    // It is opened once more, so that sled has its snapshot and does not read the file from end to end.
    close(open(dir.path()), dir.path());
    let pages = length(&dir.path().join("db/db")) / 4096;
    // sled alone knows where its pages lie: some of these places are read when it is opened, most are not.
    let met_later = (1..10).any(|tenth| {
        let copy = copy_db(dir.path());
        let file = copy.path().join("db/db");
        (0..200).for_each(|page| overwrite(&file, (pages * tenth / 10 + page) * 4096, &[0x55; 4096]));
        let journal = open(copy.path());
        let met_later = journal.counts().borrow().set_aside == 0;
        let left = runtime.block_on(journal.open_releases()).unwrap();
        let many = usize::try_from(MANY).unwrap();
        if journal.counts().borrow().set_aside == 0 {
            assert_eq!(left.len(), many, "a place where nothing lies, and something is missing");
            return false;
        }
        assert!(left.len() > many / 2, "only {} are left", left.len());
        assert!(left.iter().all(|stored| stored.carried_over.is_some()));
        met_later
    });
    assert!(met_later, "not the case that this is about");
}

#[test]
fn no_number_is_used_twice_when_the_database_is_lost_in_mid_run() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    let last = runtime.block_on(store_many(&journal));
    let file = dir.path().join("db/db");
    overwrite(&file, 0, &vec![0x55; usize::try_from(length(&file)).unwrap()]);
    runtime.block_on(async {
        let left = journal.open_releases().await.unwrap();
        assert_eq!((left.len(), journal.counts().borrow().set_aside), (0, 1), "not the case that this is about");
        let next = journal.store_releases(vec![release(MANY)]).await.unwrap();
        assert!(next[0] > last, "{} was told before {last}", next[0]);
    });
    close(journal, dir.path());
}

#[test]
fn what_lies_behind_a_place_that_cannot_be_read_is_carried_over() {
    let _limit = limit();
    // sled's snapshot is of its last start: of all that was written since, sled would read up to the first damaged place.
    let damages: [(&str, u64, Damage); 3] = [
        ("a page overwritten", 9, |file| overwrite(file, length(file) / 4 / 4096 * 4096, &[0x55; 4096])),
        ("a segment zeroed", 7, |file| overwrite(file, 524_288, &[0; 524_288])),
        ("cut to half", 2, |file| cut(file, length(file) / 2)),
    ];
    const MANY: u64 = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    runtime.block_on(async {
        for first in (0..MANY).step_by(500) {
            journal.store_releases((first..first + 500).map(release).collect()).await.unwrap();
        }
    });
    close(journal, dir.path());
    for (name, tenths, damage) in damages {
        for snapshot in [true, false] {
            let copy = copy_db(dir.path());
            let db = copy.path().join("db");
            if !snapshot {
                snapshots(&db).iter().for_each(|path| fs::remove_file(path).unwrap());
            }
            damage(&db.join("db"));
            let before = length(&db.join("db"));
            let journal = open(copy.path());
            let left = runtime.block_on(journal.open_releases()).unwrap().len() as u64;
            // sled alone knows where its pages lie, so the damaged place may be an empty one.
            let tenths = if aside(copy.path()).is_empty() { 10 } else { tenths };
            assert!(left * 10 >= MANY * tenths, "{name}: {left} of {MANY} are left, with its snapshot: {snapshot}");
            for folder in aside(copy.path()) {
                assert_eq!(length(&folder.join("db")), before, "{name}: not kept whole");
            }
        }
    }
}
