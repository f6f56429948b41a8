//! This process's environment, for C libraries that read it.

use std::{env, fs, io};

/// Sets a variable that is not set, before this process has a second thread.
///
/// # Errors
/// When there is a second one already, or `/proc` does not say.
pub fn set_default(name: &str, value: &str) -> io::Result<()> {
    if env::var_os(name).is_some() {
        return Ok(());
    }
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("another thread may be reading the environment"));
    }
    // SAFETY: nobody reads or writes the environment meanwhile: this thread is the only one, and
    // what it calls here is not a thing that begins another.
    unsafe { env::set_var(name, value) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stays_and_no_thread_is_surprised() {
        let path = env::var_os("PATH");
        set_default("PATH", "/nowhere").unwrap();
        assert_eq!(env::var_os("PATH"), path);
        // The harness has its own threads.
        assert!(set_default("LACRE_TEST_UNSET", "1").is_err());
        assert_eq!(env::var_os("LACRE_TEST_UNSET"), None);
    }
}
