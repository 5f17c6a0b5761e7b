//! What the tests start.

pub mod link_cutter;
pub mod mosquitto;
