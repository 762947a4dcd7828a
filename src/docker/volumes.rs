//! The volumes of a container: named ones are named again, and those without a name are carried over by the one they were given,
//! so that nothing that is in them is lost.

use serde_json::{Map, Value, json};

use super::Container;

/// `HostConfig.Mounts` of the same container made anew.
pub(super) fn mounts(container: &Container, sources: &[Container]) -> Vec<Value> {
    let mut mounts: Vec<Value> = container.list("/HostConfig/Mounts").cloned().collect();
    for volume in container.list("/Mounts").filter(|mount| mount["Type"] == "volume") {
        let (name, place) = (&volume["Name"], &volume["Destination"]);
        let is_here = |mount: &&mut Value| is_same_place(&mount["Target"], place);
        if let Some(mount) = mounts.iter_mut().find(is_here) {
            if mount["Type"] == "volume" && mount["Source"].as_str().is_none_or(str::is_empty) {
                mount["Source"] = name.clone();
            }
        } else if !is_bound(container, place) && !is_from_a_source(sources, name, place) {
            let mut mount = Map::from_iter([
                ("Type".to_owned(), json!("volume")),
                ("Source".to_owned(), name.clone()),
                ("Target".to_owned(), place.clone()),
            ]);
            if volume["RW"] == false {
                mount.insert("ReadOnly".to_owned(), json!(true));
            }
            mounts.push(mount.into());
        }
    }
    mounts
}

/// Whether one of `Binds` says what is at `place`.
fn is_bound(container: &Container, place: &Value) -> bool {
    let mut binds = container.list("/HostConfig/Binds").filter_map(Value::as_str);
    // `name:/place` or `name:/place:options`
    binds.any(|bind| {
        bind.split(':')
            .nth(1)
            .is_some_and(|target| is_same_place(&target.into(), place))
    })
}

fn is_same_place(one: &Value, other: &Value) -> bool {
    let parts = |place: &Value| {
        let parts = place.as_str()?.split('/').filter(|part| !matches!(*part, "" | "."));
        Some(parts.map(str::to_owned).collect::<Vec<String>>())
    };
    parts(one) == parts(other)
}

/// Whether it comes from a container whose volumes it has.
fn is_from_a_source(sources: &[Container], name: &Value, place: &Value) -> bool {
    let mut mounts = sources.iter().flat_map(|source| source.list("/Mounts"));
    mounts.any(|mount| mount["Name"] == *name && mount["Destination"] == *place)
}

/// The names of the containers whose volumes it has.
pub(crate) fn volume_sources(container: &Container) -> impl Iterator<Item = &str> {
    let sources = container.list("/HostConfig/VolumesFrom").filter_map(Value::as_str);
    sources.map(|source| source.split(':').next().unwrap_or(source))
}

/// What is mounted, as far as it must stay: by place.
pub(super) fn mounted(container: &Container) -> Map<String, Value> {
    let kept = container.list("/Mounts").map(|mount| {
        let place = mount["Destination"].as_str().unwrap_or_default().to_owned();
        let what = if mount["Type"] == "volume" {
            &mount["Name"]
        } else {
            &mount["Source"]
        };
        (place, json!({ "Type": mount["Type"], "What": what, "RW": mount["RW"] }))
    });
    kept.collect()
}
