//! A container engine, as Docker has it, asked over its HTTP interface: containers, images, and the body that makes a container
//! anew as it was. Which containers are updated, and when, is left to the kind of job that does.

mod address;
mod calls;
mod client;
mod container;
mod credentials;
mod difference;
mod endpoints;
mod engines;
mod inheritance;
mod injected;
mod itself;
mod recreation;
mod reference;
mod volumes;

pub(crate) use address::Address;
pub(crate) use calls::Published;
pub(crate) use client::{Client, DockerError};
pub(crate) use container::{Container, Health, short};
pub(crate) use credentials::{Credentials, Login};
pub(crate) use difference::differences;
pub(crate) use engines::{ContainerEngine, Engines, Turns, chosen};
pub(crate) use inheritance::Inheritance;
pub(crate) use injected::injected_files;
pub(crate) use itself::own_container;
pub(crate) use recreation::{Around, Images, Recreation};
pub(crate) use reference::Reference;
pub(crate) use volumes::volume_sources;
