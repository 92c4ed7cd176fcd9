//! Paths with and without the chroot of a client.

/// Puts the chroot before a path.
pub fn server_path(chroot: Option<&str>, client_path: &str) -> String {
    match (chroot, client_path) {
        (None, path) => path.to_owned(),
        (Some(chroot), "/") => chroot.to_owned(),
        (Some(chroot), path) => format!("{chroot}{path}"),
    }
}

/// Takes the chroot off a path; a path elsewhere (the ensemble's configuration) stays as it is.
pub fn client_path<'a>(chroot: Option<&str>, server_path: &'a str) -> &'a str {
    match chroot.and_then(|chroot| server_path.strip_prefix(chroot)) {
        None => server_path,
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => server_path,
    }
}
