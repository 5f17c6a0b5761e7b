//! The world that a demonstration starts with.

use jiff::SignedDuration;

use super::access::{ApiKey, Permission};
use super::world::{LONG_EDGE, ServerDocument, ServerPort, ServerUser, Tag, World};

/// A key that needs no device token, and may read the history.
pub const OPEN_KEY: &str = "demo-open-key";
/// A key that needs a device token, of a device that somebody approved, and may read the history.
pub const TRUSTED_KEY: &str = "demo-trusted-key";
/// A key that needs a device token, of any device, and may not read the history.
pub const AUTO_TRUST_KEY: &str = "demo-auto-trust-key";
/// A key that needs no token at all, and so may not list, release or download.
pub const INSECURE_KEY: &str = "demo-insecure-key";
/// The `Mac` of the reader beside the printer; of the block for documentation (RFC 7042).
pub const READER_MAC: &str = "00:00:5E:00:53:01";

impl World {
    /// Three people with a card each, eight documents that wait, and one printer.
    pub fn demo() -> World {
        let mut world = World::empty();
        world.keys = keys();
        world.users = vec![
            user(1, "ada", "Ada Lovelace", "0025489530"),
            user(2, "grace", "Grace Hopper", "2490285352"),
            user(3, "linus", "Linus Pauling", "1234567"),
        ];
        world.ports = vec![ServerPort {
            id: 1,
            name: "Lobby".into(),
            address: "192.0.2.10".into(),
            device_serial: "DEMO0001".into(),
            port_type: 1,
            monochrome: false,
            reader_mac: READER_MAC.into(),
            ready: true,
        }];
        world.documents = documents(&world);
        world
    }
}

fn keys() -> Vec<ApiKey> {
    vec![
        ApiKey { allow_untrusted_endpoints: true, history_allowed: true, ..ApiKey::strict(OPEN_KEY) },
        ApiKey { history_allowed: true, ..ApiKey::strict(TRUSTED_KEY) },
        ApiKey { automatic_trust: true, ..ApiKey::strict(AUTO_TRUST_KEY) },
        ApiKey {
            allow_unauthenticated: true,
            allow_untrusted_endpoints: true,
            history_allowed: true,
            ..ApiKey::strict(INSECURE_KEY)
        },
    ]
}

fn user(id: u32, name: &str, full_name: &str, card: &str) -> ServerUser {
    ServerUser {
        id,
        name: name.into(),
        full_name: full_name.into(),
        email: format!("{name}@demo.example"),
        password: format!("{name}-password"),
        pin: Some(format!("{id}{id}{id}{id}")),
        short_id: format!("10{id}"),
        cards: vec![card.into()],
        permissions: Permission::ALL.into(),
    }
}

/// Submitted some minutes ago, one after the other.
fn documents(world: &World) -> Vec<ServerDocument> {
    let titles = [
        ("ada", "Notes on the Analytical Engine.pdf", 12),
        ("ada", "Table of Bernoulli numbers.xlsx", 3),
        ("ada", "Invitation.docx", 1),
        ("ada", "Family photograph.jpg", 1),
        ("grace", "Compiler manual.pdf", 48),
        ("grace", "Moth.png", 1),
        ("grace", "Travel expenses.xlsx", 2),
        ("linus", "Lecture.txt", 1),
    ];
    let start = world.now().checked_sub(SignedDuration::from_hours(1)).unwrap_or_default();
    let mut documents: Vec<ServerDocument> = (1..)
        .zip(titles)
        .map(|(minute, (user, title, pages))| {
            let submitted = start.checked_add(SignedDuration::from_mins(minute)).unwrap_or(start);
            ServerDocument {
                content: postscript(title, pages).into(),
                ..ServerDocument::new(user, title, pages, submitted)
            }
        })
        .collect();
    documents[0].tags = vec![Tag { tag_type: 0, name: "Mathematics".into() }];
    documents[0].duplex = LONG_EDGE;
    documents[1].grayscale = true;
    documents[2].copies = 30;
    documents[3].color_pages = 1;
    documents[4].duplex = LONG_EDGE;
    documents[5].color_pages = 1;
    documents[5].paper_size = "A5".into();
    documents[6].copies = 2;
    documents
}

/// A document that a printer can print: its title on every page.
fn postscript(title: &str, pages: u32) -> String {
    let page = |number| {
        format!("%%Page: {number} {number}\n/Helvetica 24 selectfont 72 720 moveto ({title}, {number}) show showpage\n")
    };
    let pages: String = (1..=pages).map(page).collect();
    format!("%!PS-Adobe-3.0\n{pages}%%EOF\n")
}
