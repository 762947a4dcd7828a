//! Whether this program runs in a container, and in which.

/// The id of the container that this process is in, as far as its mounts tell: engines mount a file of names for each.
pub(crate) fn own_container() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    id_in(&mounts)
}

fn id_in(mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        if !matches!(place, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let is_id = |part: &&str| part.len() == 64 && part.chars().all(|c| c.is_ascii_hexdigit());
        root.split('/').find(is_id).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_knows_itself_and_its_host_does_not() {
        let id = "5f".repeat(32);
        let inside = format!(
            "1 2 254:1 / / rw - ext4 /dev/vda rw\n3 2 254:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/vda rw"
        );
        assert_eq!(id_in(&inside), Some(id.clone()));
        let outside = format!("1 2 0:9 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw");
        assert_eq!(id_in(&outside), None);
    }
}
