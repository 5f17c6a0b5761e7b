//! What the tests start.

pub mod disk;
pub mod journal;
pub mod link_cutter;
pub mod mosquitto;
pub mod platter;
