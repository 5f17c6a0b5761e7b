//! The people of a file, checked before anything is sent (docs/directory.md, "Orbix"). Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::csv::{CsvError, CsvRecord, records};

/// The first line of every file.
pub const HEADER: &str = "group,description,logon,domain,name,email";

/// The most characters of a value. Only that a group's name can be too long is documented; a name of 159 characters was.
const GROUP_LIMIT: usize = 128;
const LOGON_LIMIT: usize = 128;
const TEXT_LIMIT: usize = 255;
/// RFC 5321, section 4.5.3.1.
const EMAIL_LIMIT: usize = 254;

/// One person in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrbixPerson {
    /// The line of the file.
    pub line: usize,
    /// The group's name.
    pub group: String,
    /// The group's description; may be empty.
    pub description: String,
    /// The login name.
    pub logon: String,
    /// Its domain.
    pub domain: String,
    /// The full name; may be empty.
    pub name: String,
    /// The e-mail address; may be empty.
    pub email: String,
}

impl OrbixPerson {
    /// The name of the person as the server's answers have it.
    pub fn user(&self) -> String {
        format!("{}//{}", self.domain, self.logon)
    }
}

/// A line that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonProblem {
    /// The line of the file.
    pub line: usize,
    /// The fault.
    pub why: String,
}

impl From<CsvError> for PersonProblem {
    fn from(error: CsvError) -> Self {
        Self { line: error.line, why: error.why.to_owned() }
    }
}

/// Reads and checks a file. A person who stands in a group twice with the same data counts once.
///
/// # Errors
/// Every line that cannot be sent.
pub fn people(text: &str) -> Result<Vec<OrbixPerson>, Vec<PersonProblem>> {
    let records = records(text).map_err(|error| vec![error.into()])?;
    let header = records.first().map(|record| record.fields.join(","));
    if header.as_deref() != Some(HEADER) {
        return Err(vec![PersonProblem { line: 1, why: format!("must be the header {HEADER}") }]);
    }
    let (mut problems, mut found) = (Vec::new(), Vec::new());
    for record in records.into_iter().skip(1) {
        match person(record) {
            Ok(person) => found.push(person),
            Err(problem) => problems.push(problem),
        }
    }
    match checked(found) {
        Ok(found) if problems.is_empty() => Ok(found),
        Ok(_) => Err(problems),
        Err(mut others) => {
            problems.append(&mut others);
            problems.sort_by_key(|problem| problem.line);
            Err(problems)
        }
    }
}

/// Checks people, wherever they come from. A person who stands in a group twice with the same data counts once.
///
/// # Errors
/// Every person who cannot be sent.
pub fn checked(people: Vec<OrbixPerson>) -> Result<Vec<OrbixPerson>, Vec<PersonProblem>> {
    let mut problems: Vec<_> = people.iter().flat_map(faults).collect();
    // A line with a fault says nothing about the others.
    let wrong: BTreeSet<_> = problems.iter().map(|problem| problem.line).collect();
    let (kept, contradictions) =
        consistent(people.into_iter().filter(|person| !wrong.contains(&person.line)).collect());
    problems.extend(contradictions);
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(kept) } else { Err(problems) }
}

fn person(record: CsvRecord) -> Result<OrbixPerson, PersonProblem> {
    let (line, count) = (record.line, record.fields.len());
    match <[String; 6]>::try_from(record.fields) {
        Ok([group, description, logon, domain, name, email]) => {
            Ok(OrbixPerson { line, group, description, logon, domain, name, email })
        }
        Err(_) => Err(PersonProblem { line, why: format!("has {count} values and not 6") }),
    }
}

fn faults(person: &OrbixPerson) -> Vec<PersonProblem> {
    let OrbixPerson { line, group, description, logon, domain, name, email } = person;
    let checks = [
        ("group", required(group).or(text(group, GROUP_LIMIT))),
        ("description", text(description, TEXT_LIMIT)),
        ("logon", login(logon)),
        ("domain", login(domain)),
        ("name", text(name, TEXT_LIMIT)),
        ("email", email_address(email)),
    ];
    let problem =
        |(key, why): (&str, Option<String>)| Some(PersonProblem { line: *line, why: format!("{key} {}", why?) });
    checks.into_iter().filter_map(problem).collect()
}

fn required(value: &str) -> Option<String> {
    value.trim().is_empty().then(|| "is missing".to_owned())
}

fn text(value: &str, limit: usize) -> Option<String> {
    if value.chars().any(char::is_control) {
        return Some("has a control character".to_owned());
    }
    let length = value.chars().count();
    (length > limit).then(|| format!("is too long: {length} characters, and {limit} are allowed"))
}

/// "Do not use accents, symbols or spaces", and the documented example has a point.
fn login(value: &str) -> Option<String> {
    let wrong = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    required(value).or_else(|| text(value, LOGON_LIMIT)).or_else(|| {
        value.chars().find(wrong).map(|c| match c {
            ' ' => "has a space".to_owned(),
            c if c.is_alphabetic() => format!("has the accent or foreign letter {c}"),
            c => format!("has the symbol {}", c.escape_debug()),
        })
    })
}

fn email_address(value: &str) -> Option<String> {
    let is_address = || match value.split_once('@') {
        Some((name, host)) => !name.is_empty() && !host.is_empty() && !host.contains('@') && !value.contains(' '),
        None => false,
    };
    let fault = || (!is_address()).then(|| "is no e-mail address".to_owned());
    if value.is_empty() { None } else { text(value, EMAIL_LIMIT).or_else(fault) }
}

/// A value that several lines give; an empty one says nothing.
#[derive(Default)]
struct AgreedValue {
    line: usize,
    value: String,
}

impl AgreedValue {
    /// Takes the value of a line in. Another value than an earlier line's is a problem.
    fn agree(&mut self, key: &str, line: usize, value: &str) -> Option<PersonProblem> {
        if self.value.is_empty() {
            *self = Self { line, value: value.to_owned() };
        }
        let differs = !value.is_empty() && self.value != value;
        differs.then(|| PersonProblem { line, why: format!("{key} differs from that in line {}", self.line) })
    }
}

/// Leaves out people who stand there twice, finds lines that would overwrite each other, and gives each line the values that it
/// leaves open and others have: an update without them might take them away.
fn consistent(people: Vec<OrbixPerson>) -> (Vec<OrbixPerson>, Vec<PersonProblem>) {
    let mut descriptions: BTreeMap<String, AgreedValue> = BTreeMap::new();
    let mut data: BTreeMap<String, [AgreedValue; 2]> = BTreeMap::new();
    let (mut members, mut kept, mut problems) = (BTreeSet::new(), Vec::new(), Vec::new());
    for person in people {
        let OrbixPerson { line, group, description, name, email, .. } = &person;
        problems.extend(descriptions.entry(group.clone()).or_default().agree("description", *line, description));
        let [names, emails] = data.entry(person.user()).or_default();
        problems.extend(names.agree("name", *line, name));
        problems.extend(emails.agree("email", *line, email));
        if members.insert((group.clone(), person.user())) {
            kept.push(person);
        }
    }
    for person in &mut kept {
        if let (Some(description), Some([name, email])) = (descriptions.get(&person.group), data.get(&person.user())) {
            person.description.clone_from(&description.value);
            person.name.clone_from(&name.value);
            person.email.clone_from(&email.value);
        }
    }
    (kept, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[&str]) -> String {
        format!("{HEADER}\n{}\n", lines.join("\n"))
    }

    fn problems(lines: &[&str]) -> Vec<(usize, String)> {
        let problems = people(&file(lines)).expect_err("problems");
        problems.into_iter().map(|problem| (problem.line, problem.why)).collect()
    }

    #[test]
    fn the_people_of_the_documented_example_are_fine() {
        let text = file(&[
            "Group 1,Group 1 description,carlos.silva,NDD,Carlos Silva,carlos.silva@ndd.tech",
            "Group 1,,joao.souza,NDD,João Souza,",
        ]);
        let people = people(&text).unwrap();
        assert_eq!((people[1].line, people[1].user()), (3, "NDD//joao.souza".to_owned()));
        assert_eq!(people[1].description, "Group 1 description", "a group has one description");
    }

    #[test]
    fn every_line_that_cannot_be_sent_is_told() {
        let long = "x".repeat(300);
        let lines = [
            "G,,João,NDD,,".to_owned(),
            "G,,joao souza,NDD,,".to_owned(),
            "G,,joao,N&D,,".to_owned(),
            ",,joao,,,".to_owned(),
            "G,,joao,NDD,,joao.ndd.tech".to_owned(),
            "G,,joao,NDD".to_owned(),
            format!("{long},,joao,NDD,,"),
            format!("G,,{long},NDD,,"),
            format!("G,,ana,NDD,{long},"),
        ];
        let found = problems(&lines.each_ref().map(String::as_str));
        let told: Vec<_> = found.iter().map(|(line, why)| (*line, why.as_str())).collect();
        assert_eq!(
            told[..4],
            [
                (2, "logon has the accent or foreign letter ã"),
                (3, "logon has a space"),
                (4, "domain has the symbol &"),
                (5, "group is missing"),
            ]
        );
        assert_eq!(
            told[4..7],
            [(5, "domain is missing"), (6, "email is no e-mail address"), (7, "has 4 values and not 6")]
        );
        assert!(told[7..].iter().all(|(_, why)| why.contains("is too long: 300 characters")), "{told:?}");
        assert_eq!(told.len(), 10);
    }

    #[test]
    fn lines_that_would_overwrite_each_other_are_told() {
        let lines = ["G,one,ana,NDD,Ana,", "H,,ana,NDD,Anna,", "G,two,bea,NDD,,", "G,one,ana,NDD,Ana,"];
        let found = problems(&lines);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].0 == 3 && found[0].1.contains("line 2"), "{found:?}");
        assert!(found[1].0 == 4 && found[1].1.contains("line 2"), "{found:?}");
        assert_eq!(people(&file(&[lines[0], lines[3]])).unwrap().len(), 1, "twice the same is once");
        let open = people(&file(&["G,,ana,NDD,,a@x", "H,,ana,NDD,Ana,"])).unwrap();
        let data: Vec<_> = open.iter().map(|person| (person.name.as_str(), person.email.as_str())).collect();
        assert_eq!(data, [("Ana", "a@x"), ("Ana", "a@x")], "an empty value contradicts nothing");
    }

    #[test]
    fn another_header_is_no_file_of_people() {
        for text in ["", "group,logon\n", "logon,group,description,domain,name,email\n"] {
            assert_eq!(people(text).expect_err(text)[0].line, 1);
        }
        assert_eq!(people(&file(&[])).unwrap(), []);
    }
}
