//! The state of the server. Tests look at it and change it under its lock.
//!
//! Documents and job records are rows of one shape; only documents wait to be printed, and `records` holds the rows of
//! `POST /documents/history`. The logs keep the newest [`LOG_LIMIT`](super::log::LOG_LIMIT) entries.

use std::collections::{BTreeSet, HashMap};

use axum::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::access::{ApiKey, Permission};
use super::documents::Begun;
use super::faults::ServerFault;
use super::history::Pages;
use super::log::{LoggedCall, LoggedDownload, LoggedRelease};
use super::oauth::Device;
use super::tokens::Tokens;

/// The provider that every user of this server belongs to.
pub const PROVIDER_ID: u32 = 65;
/// `DocumentInfo.duplex`: one side.
pub const SIMPLEX: u8 = 0;
/// `DocumentInfo.duplex`: turned on the long edge.
pub const LONG_EDGE: u8 = 1;
/// `DocumentInfo.duplex`: turned on the short edge.
pub const SHORT_EDGE: u8 = 2;

/// The state of the server.
pub struct World {
    /// The names that this account answers to; another `domainname` is not found.
    pub domains: Vec<String>,
    /// The type that `/account` gives; only a customer's history can be read.
    pub account_type: AccountType,
    /// The version that `/version` gives.
    pub version: String,
    /// Newer servers take the field `datetime` in a job record.
    pub history_datetime: bool,
    /// The rows of the history name the port that printed. The documented form of a row has its name and number, and no
    /// word says when they are missing.
    pub history_ports: bool,
    /// The people who can log in.
    pub users: Vec<ServerUser>,
    /// Submitted documents of every status, oldest first.
    pub documents: Vec<ServerDocument>,
    /// The printers.
    pub ports: Vec<ServerPort>,
    /// The API keys.
    pub keys: Vec<ApiKey>,
    /// Registered devices, approved or not.
    pub devices: Vec<Device>,
    /// Live tokens and how long they live.
    pub tokens: Tokens,
    /// Job records, in the order in which they were accepted.
    pub records: Vec<ServerDocument>,
    /// Every document handed to a port.
    pub releases: Vec<LoggedRelease>,
    /// The document of each request to release it that came after an earlier one had begun work: it would have been
    /// printed twice, had the server not refused the second by itself.
    pub repeated: Vec<String>,
    /// Every document handed out as bytes.
    pub downloads: Vec<LoggedDownload>,
    /// Every request, in the order of arrival.
    pub calls: Vec<LoggedCall>,
    /// The faults to come; the first that fits a call happens.
    pub faults: Vec<ServerFault>,
    /// Refusals come without a body: the vendor documents none.
    pub silent_refusals: bool,
    /// Added to the clock, so that a test can let tokens and codes expire.
    pub clock_offset: SignedDuration,
    pub(super) begun: HashMap<String, Begun>,
    pub(super) pages: Pages,
    pub(super) calls_seen: u64,
}

impl World {
    /// An account without users, documents, ports or keys.
    pub fn empty() -> World {
        World {
            domains: ["demo.example", "127.0.0.1", "localhost"].map(String::from).to_vec(),
            account_type: AccountType::Customer,
            version: "3.50.1".into(),
            history_datetime: false,
            history_ports: true,
            users: Vec::new(),
            documents: Vec::new(),
            ports: Vec::new(),
            keys: Vec::new(),
            devices: Vec::new(),
            tokens: Tokens::default(),
            records: Vec::new(),
            releases: Vec::new(),
            repeated: Vec::new(),
            downloads: Vec::new(),
            calls: Vec::new(),
            faults: Vec::new(),
            silent_refusals: false,
            clock_offset: SignedDuration::ZERO,
            begun: HashMap::new(),
            pages: Pages::default(),
            calls_seen: 0,
        }
    }

    /// The server's time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now().checked_add(self.clock_offset).unwrap_or(Timestamp::MAX)
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&ServerUser> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The document of this uuid.
    pub fn document(&self, uuid: &str) -> Option<&ServerDocument> {
        self.documents.iter().find(|document| document.uuid == uuid)
    }

    /// The documents of this user that wait to be released.
    pub fn waiting(&self, user: &str) -> impl Iterator<Item = &ServerDocument> {
        let ready = |document: &&ServerDocument| document.status == Status::Ready;
        self.documents.iter().filter(move |document| document.user_name == user).filter(ready)
    }

    /// The number of times that this document was handed to a port.
    pub fn times_released(&self, uuid: &str) -> usize {
        self.releases.iter().filter(|release| release.uuid == uuid).count()
    }
}

/// `accounttype` (docs/print-server-api.md, "Addresses").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountType {
    /// Type 1: a seller with accounts below it.
    Vendor = 1,
    /// Type 2: the only one whose history can be read.
    Customer = 2,
    /// Type 3: a group of accounts.
    Container = 3,
}

/// A person.
#[derive(Clone)]
pub struct ServerUser {
    /// `UserInfo.id`
    pub id: u32,
    /// The login name.
    pub name: String,
    /// As the server shows it.
    pub full_name: String,
    /// For `authtype` 4.
    pub email: String,
    /// For `authtype` 0.
    pub password: String,
    /// The optional secret beside a card.
    pub pin: Option<String>,
    /// For `authtype` 2.
    pub short_id: String,
    /// Card numbers, for `authtype` 1.
    pub cards: Vec<String>,
    /// The permissions of the user's token.
    pub permissions: BTreeSet<Permission>,
}

/// `DocumentInfo` (docs/print-server-api.md, "DocumentInfo"), and the bytes behind it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerDocument {
    /// The owner's provider.
    pub provider_id: u32,
    /// The document's id, made at random.
    pub uuid: String,
    /// The title.
    pub document_name: String,
    /// 0; other values are not documented.
    pub document_type: u32,
    /// The owner's login name.
    pub user_name: String,
    /// 0: not known.
    pub total_pages: u32,
    /// Among them in colour.
    pub color_pages: u32,
    /// [`SIMPLEX`], [`LONG_EDGE`] or [`SHORT_EDGE`].
    pub duplex: u8,
    /// As submitted.
    pub copies: u32,
    /// As submitted.
    pub grayscale: bool,
    /// Empty: not known.
    pub paper_size: String,
    /// When it was submitted; epoch milliseconds on the wire.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub date_time: Timestamp,
    /// Whether the server can reach the bytes now. A document that was consumed has none.
    pub storage_online: bool,
    /// As submitted.
    pub secure: bool,
    /// The owner's department and groups.
    pub tags: Vec<Tag>,
    /// As submitted.
    pub collate: bool,
    /// Its status.
    pub status: Status,
    /// The port that printed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_port_id: Option<u32>,
    /// The port that printed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_port_name: Option<String>,
    /// The kind of the job.
    pub job_type: JobType,
    /// The bytes of a download.
    #[serde(skip)]
    pub content: Bytes,
}

impl ServerDocument {
    /// A `READY` print job with a new uuid: one A4 copy in black and white, one side, no bytes.
    pub fn new(user_name: &str, document_name: &str, total_pages: u32, date_time: Timestamp) -> ServerDocument {
        ServerDocument {
            provider_id: PROVIDER_ID,
            uuid: super::random::uuid(),
            document_name: document_name.into(),
            document_type: 0,
            user_name: user_name.into(),
            total_pages,
            color_pages: 0,
            duplex: SIMPLEX,
            copies: 1,
            grayscale: false,
            paper_size: "A4".into(),
            date_time,
            storage_online: true,
            secure: false,
            tags: Vec::new(),
            collate: false,
            status: Status::Ready,
            output_port_id: None,
            output_port_name: None,
            job_type: JobType::Print,
            content: Bytes::new(),
        }
    }

    /// It was printed for good: its row in the history looks like that of a job record.
    pub(super) fn consume(&mut self) {
        self.status = Status::Printed;
        self.storage_online = false;
    }
}

/// `TagInfo`
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// 0: a department, 1: a group.
    pub tag_type: u8,
    /// Its name.
    pub name: String,
}

/// `DocumentInfo.status` (docs/print-server-api.md, "Document status").
#[expect(missing_docs, reason = "the vendor gives names only")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "u8")]
pub enum Status {
    Ready,
    Printed,
    Deleted,
    Expired,
    Failed,
    Received,
    AwaitingConversion,
    Converting,
    ConversionFailed,
    Stored,
}

impl Status {
    const ALL: [Status; 10] = [
        Status::Ready,
        Status::Printed,
        Status::Deleted,
        Status::Expired,
        Status::Failed,
        Status::Received,
        Status::AwaitingConversion,
        Status::Converting,
        Status::ConversionFailed,
        Status::Stored,
    ];
}

impl From<Status> for u8 {
    fn from(status: Status) -> u8 {
        status as u8
    }
}

impl std::str::FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Status, ()> {
        let number: usize = text.parse().map_err(drop)?;
        Status::ALL.get(number).copied().ok_or(())
    }
}

/// `jobtype` (docs/print-server-api.md, "Job records").
#[expect(missing_docs, reason = "the vendor gives names only")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobType {
    Print,
    Copy,
    Scan,
    Fax,
}

impl std::str::FromStr for JobType {
    type Err = ();

    fn from_str(text: &str) -> Result<JobType, ()> {
        match text {
            "PRINT" => Ok(JobType::Print),
            "COPY" => Ok(JobType::Copy),
            "SCAN" => Ok(JobType::Scan),
            "FAX" => Ok(JobType::Fax),
            _ => Err(()),
        }
    }
}

/// A printer, as `OutputPortInfo` tells it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerPort {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The network address; several ports may share one.
    pub address: String,
    /// The serial number.
    pub device_serial: String,
    /// 1: a printer.
    pub port_type: u32,
    /// Prints black and white only.
    pub monochrome: bool,
    /// The `Mac` of the card reader beside it; an opaque string.
    #[serde(skip)]
    pub reader_mac: String,
    /// False: a release ends with error 1042.
    #[serde(skip)]
    pub ready: bool,
}

impl ServerPort {
    /// Whether the last segment of a release means this port: its serial number or its address.
    pub(super) fn answers_to(&self, name: &str) -> bool {
        self.device_serial == name || self.address == name
    }
}
