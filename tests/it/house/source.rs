//! Reads sources as far as the rules of the house need it: the paths that a file names, and the files that these lead to.
//!
//! It knows no types and no macros. The compiler has seen the files before, so that everything that looks like a path is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A path from the top of the crate: `["agent", "release", "Claims"]`.
pub type Names = Vec<String>;

/// Re-exports of re-exports are followed so far.
const RE_EXPORTS: usize = 10;

/// One file, which is one module.
pub struct Source {
    pub path: PathBuf,
    pub module: Names,
    /// Code without tests and comments.
    pub code: String,
    /// Every path that the code names, as far as it begins inside the crate.
    pub paths: BTreeSet<Names>,
    /// The names that its `use` lines bring in, with the paths behind them.
    imports: BTreeMap<String, Names>,
    /// The paths that it hands on with `pub use` and does not use itself.
    handed_on: BTreeSet<Names>,
}

/// Every file of the crate but its tests.
pub fn crate_sources() -> Vec<Source> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// The files below a folder, as modules of a crate that begins there.
pub fn read(src: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
                files.push(path);
            }
        }
    }
    files.sort();
    let modules: Vec<Names> = files.iter().map(|path| module_of(path.strip_prefix(src).unwrap())).collect();
    let source = |(path, module): (&PathBuf, &Names)| {
        let children = modules.iter().filter(|other| other.len() == module.len() + 1 && other.starts_with(module));
        let children = children.filter_map(|child| child.last().cloned()).collect();
        Source::new(path.clone(), module.clone(), &fs::read_to_string(path).unwrap(), &children)
    };
    files.iter().zip(&modules).map(source).collect()
}

fn module_of(path: &Path) -> Names {
    let names = path.with_extension("");
    let names = names.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| !["mod", "lib", "main"].contains(&name.as_str())).collect()
}

impl Source {
    fn new(path: PathBuf, module: Names, text: &str, children: &BTreeSet<String>) -> Self {
        let code = without_tests_and_comments(text);
        let (lines, rest) = use_lines(&code);
        let (mut paths, mut imports, mut handed_on) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        for (name, names, public) in lines.iter().flat_map(|line| uses(line)) {
            if let Some(names) = absolute(&names, &module, children) {
                let used = words(&rest).any(|word| word.split("::").next() == Some(&name));
                handed_on.extend((public && !used).then(|| names.clone()));
                paths.insert(names.clone());
                imports.insert(name, names);
            }
        }
        for names in paths_in(&rest) {
            let imported = imports.get(&names[0]).filter(|_| names.len() > 1);
            let through = imported.map(|import| [import, &names[1..]].concat());
            paths.extend(through.or_else(|| absolute(&names, &module, children)));
        }
        Self { path, module, code, paths, imports, handed_on }
    }

    /// The paths that the code uses itself.
    fn used(&self) -> impl Iterator<Item = &Names> {
        self.paths.iter().filter(|path| !self.handed_on.contains(*path))
    }
}

/// The code of a file up to its module of tests, without comments.
fn without_tests_and_comments(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].trim_end().ends_with('{')
    });
    let code = lines[..tests.unwrap_or(lines.len())].iter().filter(|line| !line.trim_start().starts_with("//"));
    let lines = code.map(|line| without_visibility(line.split(" // ").next().unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

/// A line without the path in `pub(in path)`, which names nothing that the file uses.
fn without_visibility(line: &str) -> String {
    match line.split_once("pub(in ").and_then(|(before, rest)| Some((before, rest.split_once(')')?.1))) {
        Some((before, rest)) => format!("{before}pub{}", without_visibility(rest)),
        None => line.to_owned(),
    }
}

/// A path as it stands in a module, from the top of the crate; `None` if it begins in another crate or in the file itself.
fn absolute(names: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Names> {
    let up = names.iter().take_while(|name| *name == "super").count();
    let (base, rest): (&[String], _) = match names[0].as_str() {
        "crate" => (&[], &names[1..]),
        "self" => (module, &names[1..]),
        "super" => (&module[..module.len().checked_sub(up)?], &names[up..]),
        first if children.contains(first) => (module, names),
        _ => return None,
    };
    let path = [base, rest].concat();
    (!path.is_empty()).then_some(path)
}

/// The `use` lines of a file, each as far as its semicolon, and the rest of the file.
fn use_lines(code: &str) -> (Vec<&str>, String) {
    let (mut lines, mut rest) = (Vec::new(), String::new());
    let mut left = code;
    while let Some(at) = left.find("use ") {
        let begin = left[..at].rfind('\n').map_or(0, |at| at + 1);
        let before = left[begin..at].trim();
        let end = left[at..].find(';').map_or(left.len(), |end| at + end);
        if before.is_empty() || before.starts_with("pub") {
            rest.push_str(&left[..begin]);
            lines.push(&left[begin..end]);
            left = &left[end..];
        } else {
            rest.push_str(&left[..at + 1]);
            left = &left[at + 1..];
        }
    }
    rest.push_str(left);
    (lines, rest)
}

/// The names that a `use` line brings in, the paths as they stand there, and whether others may use them from here.
fn uses(line: &str) -> Vec<(String, Names, bool)> {
    let (before, tree) = line.split_once("use ").unwrap_or_default();
    let tree: String = tree.replace(" as ", "@").split_whitespace().collect();
    let mut found = Vec::new();
    expand(&tree, &[], &mut found);
    found.into_iter().map(|(name, names)| (name, names, !before.trim().is_empty())).collect()
}

/// Every path of a `use` tree: `a::{b, c::{self, d as e}}`.
fn expand(tree: &str, before: &[String], found: &mut Vec<(String, Names)>) {
    let (head, group) = tree.split_once('{').map_or((tree, None), |(head, rest)| (head, rest.strip_suffix('}')));
    let (head, alias) = head.split_once('@').map_or((head, None), |(head, alias)| (head, Some(alias)));
    let names = head.split("::").filter(|name| !name.is_empty()).map(str::to_owned);
    let mut path = [before, &names.collect::<Vec<_>>()].concat();
    if let Some(group) = group {
        for part in parts(group) {
            expand(part, &path, found);
        }
        return;
    }
    // `b::{self}` is `b`, and of `b::*` it is known that it names `b`.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self" || last == "*") {
        path.pop();
    }
    if let Some(last) = path.last() {
        found.push((alias.unwrap_or(last).to_owned(), path));
    }
}

/// The parts of a group, divided by the commas that are not inside another group.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// Everything that looks like a name or a path.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    // The colon between a name and its type belongs to neither.
    words.map(|word| word.trim_end_matches(':')).filter(|word| !word.is_empty())
}

/// Everything that looks like `a::b`.
fn paths_in(code: &str) -> Vec<Names> {
    let paths = words(code).map(|word| word.trim_start_matches("::")).filter(|word| word.contains("::"));
    paths.map(|path| path.split("::").map(str::to_owned).collect()).collect()
}

/// The file that defines the item a path leads to, by its place among `sources`; `None` outside of them.
pub fn defined_in(names: &[String], sources: &[Source]) -> Option<usize> {
    let mut names = names.to_vec();
    for _ in 0..RE_EXPORTS {
        // The deepest module that the path goes through.
        let at = (0..sources.len())
            .filter(|at| names.starts_with(&sources[*at].module))
            .max_by_key(|at| sources[*at].module.len())?;
        let source = &sources[at];
        let item = names.get(source.module.len());
        match item.and_then(|item| source.imports.get(item)) {
            Some(import) => names = [import, &names[source.module.len() + 1..]].concat(),
            None => return Some(at),
        }
    }
    None
}

/// A circle: its files, each with the names in it that lead to others of the circle.
pub type Circle = BTreeMap<PathBuf, BTreeSet<String>>;

/// The circles among the files of a module: groups of files that name each other, directly or around. A `mod` line
/// names nothing, and a `pub use` line only hands on.
pub fn circles(module: &str, sources: &[Source]) -> Vec<Circle> {
    let within = |at: usize| sources[at].module.first().is_some_and(|first| first == module);
    let files: Vec<usize> = (0..sources.len()).filter(|at| within(*at)).collect();
    let mut reaches: BTreeSet<(usize, usize)> = BTreeSet::new();
    for from in &files {
        let named = sources[*from].used().filter_map(|path| defined_in(path, sources));
        reaches.extend(named.filter(|to| to != from && within(*to)).map(|to| (*from, to)));
    }
    for by in &files {
        let into: Vec<_> = files.iter().filter(|from| reaches.contains(&(**from, *by))).collect();
        let out: Vec<_> = files.iter().filter(|to| reaches.contains(&(*by, **to))).collect();
        reaches.extend(into.iter().flat_map(|from| out.iter().map(|to| (**from, **to))));
    }
    let around = |file: usize, other: usize| reaches.contains(&(file, other)) && reaches.contains(&(other, file));
    let circle_of = |file: &usize| -> Circle {
        let members = files.iter().filter(|other| around(*file, **other));
        let to_others = |member: usize| {
            let leads = |path: &&Names| defined_in(path, sources).is_some_and(|to| to != member && around(*file, to));
            sources[member].used().filter(leads).map(|path| path.join("::")).collect()
        };
        members.map(|member| (sources[*member].path.clone(), to_others(*member))).collect()
    };
    let circles: BTreeSet<_> = files.iter().map(circle_of).filter(|circle| !circle.is_empty()).collect();
    circles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::limit;

    /// A crate of these files, each given with its text.
    fn crate_of(files: &[(&str, &str)]) -> Vec<Source> {
        let src = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::create_dir_all(src.path().join(file).parent().unwrap()).unwrap();
            fs::write(src.path().join(file), text).unwrap();
        }
        read(src.path())
    }

    fn files_in_circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        circles("agent", &crate_of(files)).iter().map(|circle| circle.keys().map(name).collect()).collect()
    }

    fn known(file: &str, text: &str) -> Vec<String> {
        let sources = crate_of(&[(file, text)]);
        sources[0].paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn a_path_is_known_however_it_is_written() {
        let _limit = limit();
        assert_eq!(known("lamp.rs", "use super::journal;"), ["journal"]);
        assert_eq!(known("status/mqtt/mod.rs", "use super::super::agent::Work;"), ["agent::Work"]);
        assert_eq!(known("a.rs", "use crate::{\n    b::{self, C},\n    d as e,\n};"), ["b", "b::C", "d"]);
        assert_eq!(
            known("a.rs", "use crate::b;\nfn f(x: b::C) -> Result<crate::d::E, self::F> {}"),
            ["a::F", "b", "b::C", "d::E"]
        );
        assert_eq!(known("a.rs", "pub(crate) use super::b::*;"), ["b"]);
        assert_eq!(known("a.rs", "pub(in crate::b) fn f() {}"), Vec::<String>::new(), "who may see it is no use");
        assert_eq!(known("a.rs", "// crate::b\nuse std::fs;\n#[cfg(test)]\nmod tests {\nuse crate::c;\n}"), [""; 0]);
    }

    #[test]
    fn files_that_name_each_other_are_a_circle_and_a_mod_line_is_none() {
        let _limit = limit();
        let around = [
            ("agent/mod.rs", "mod a;\nmod b;\nmod c;\nmod d;\nfn run() { d::run() }"),
            ("agent/a.rs", "use super::b::B;"),
            ("agent/b.rs", "fn b(c: super::c::C) {}"),
            ("agent/c.rs", "use crate::agent::a::A;"),
            ("agent/d.rs", "use super::a::A;"),
        ];
        assert_eq!(files_in_circles(&around), [["a.rs", "b.rs", "c.rs"]]);
        assert_eq!(files_in_circles(&around[..3]), [[""; 0]; 0]);
    }

    #[test]
    fn a_name_counts_as_the_file_that_defines_it() {
        let _limit = limit();
        let passed_on = [
            ("agent/mod.rs", "mod a;\npub mod b;\npub use b::{B as Other};\nuse a::A;"),
            ("agent/a.rs", "use super::Other;"),
            ("agent/b.rs", "use super::Other;"),
        ];
        assert_eq!(files_in_circles(&passed_on), [[""; 0]; 0]);
        let own = [("agent/mod.rs", "mod a;\nuse a::A;\npub struct Limit;"), ("agent/a.rs", "use super::{Limit};")];
        assert_eq!(files_in_circles(&own), [["a.rs", "mod.rs"]]);
        let handed_on = [("agent/mod.rs", "mod a;\npub use a::A;\npub struct Limit;"), own[1]];
        assert_eq!(files_in_circles(&handed_on), [[""; 0]; 0]);
        let used_too = [("agent/mod.rs", "mod a;\npub use a::A;\npub struct Limit(A);"), own[1]];
        assert_eq!(files_in_circles(&used_too), [["a.rs", "mod.rs"]]);
    }

    #[test]
    fn a_folder_within_the_module_takes_part() {
        let _limit = limit();
        let nested = [
            ("agent/mod.rs", "mod outbox;\nmod release;"),
            ("agent/outbox.rs", "use super::release::Claims;"),
            ("agent/release/mod.rs", "mod claims;\npub(super) use claims::Claims;"),
            ("agent/release/claims.rs", "use crate::agent::outbox::Outbox;"),
        ];
        assert_eq!(files_in_circles(&nested), [["outbox.rs", "claims.rs"]]);
    }
}
