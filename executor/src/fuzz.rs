//! What reads bytes from outside, for the fuzzer: none of it may panic.

/// `/proc/PID/cgroup` and `/proc/self/mountinfo`.
pub fn fuzz_cgroup(data: &[u8]) {
    let _ = crate::cgroup::memberships(data);
    let _ = crate::cgroup::mounts(data);
}

/// What the kernel answers on a route socket.
pub fn fuzz_netlink(data: &[u8]) {
    for message in crate::network::netlink::messages(data) {
        let _ = crate::network::netlink::link(&message.body);
    }
    let _ = crate::network::netlink::link(data);
    let _ = crate::network::netlink::attributes(data).count();
}

/// A helper's request.
pub fn fuzz_request(data: &[u8]) {
    let _ = serde_json::from_slice::<crate::helper::Request>(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::fuzz_cgroup(&data);
            super::fuzz_netlink(&data);
            super::fuzz_request(&data);
        }

        #[test]
        fn no_length_makes_netlink_panic(lengths in proptest::collection::vec(0_u16..40, 0..40)) {
            let data: Vec<u8> = lengths.iter().flat_map(|length| length.to_ne_bytes()).collect();
            super::fuzz_netlink(&data);
        }

        #[test]
        fn no_mountinfo_makes_it_panic(text in r"([0-9]{1,3}|:|/| |-|cgroup2?|freezer|\\[0-9]{0,3}|\n){0,40}") {
            super::fuzz_cgroup(text.as_bytes());
        }
    }
}
