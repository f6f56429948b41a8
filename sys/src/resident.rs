//! Giving back memory that was needed once.

use std::ffi::{c_int, c_void};
use std::ptr;

use rustix::mm::{Advice, madvise};

/// Lets go of what a start has touched and rest does without: free heap, and the pages of
/// program and libraries. Those are mapped again, from the page cache, as they are used: some
/// microseconds for each 64 KiB, once.
pub fn let_go() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it asks for nothing and may be called from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
    // SAFETY: `object` is what the call asks for, and looks at nothing but its first argument.
    unsafe { libc::dl_iterate_phdr(Some(object), ptr::null_mut()) };
}

/// Called with the loader's lock held, so that no object comes or goes meanwhile.
///
/// # Safety
/// `info` is what the loader says of an object that is mapped.
unsafe extern "C" fn object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the loader's, valid during this call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the object's own program headers, of which there are so many.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = info.dlpi_addr as usize;
    // SAFETY: `headers` and `base` are those of one mapped object.
    if unsafe { relocates_text(base, headers) } {
        return 0;
    }
    let page = rustix::param::page_size();
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Only whole pages: what stands beside them may be another segment's.
        let start = (base + header.p_vaddr as usize).next_multiple_of(page);
        let end = (base + header.p_vaddr as usize + header.p_filesz as usize) / page * page;
        if start < end {
            // SAFETY: the pages of a private map of a file which nobody ever wrote to (the
            // segment is not writable, and no relocation is for it) read the same when they
            // are mapped anew. Who refuses (the vDSO) loses nothing.
            let _ = unsafe {
                madvise(ptr::with_exposed_provenance_mut(start), end - start, Advice::LinuxDontNeed)
            };
        }
    }
    0
}

/// Whether the loader has written into segments that are not writable (`DT_TEXTREL`,
/// `DF_TEXTREL`; elf(5)): such pages are not those of the file.
///
/// # Safety
/// `headers` are those of an object that is mapped at `base`.
unsafe fn relocates_text(base: usize, headers: &[libc::Elf64_Phdr]) -> bool {
    const DT_NULL: u64 = 0;
    const DT_TEXTREL: u64 = 22;
    const DT_FLAGS: u64 = 30;
    const DF_TEXTREL: u64 = 4;
    let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else {
        return false;
    };
    let table = ptr::with_exposed_provenance::<[u64; 2]>(base + dynamic.p_vaddr as usize);
    for index in 0..dynamic.p_memsz as usize / size_of::<[u64; 2]>() {
        // SAFETY: the segment holds that many entries of two words (elf(5), `Elf64_Dyn`).
        match unsafe { table.add(index).read() } {
            [DT_NULL, _] => return false,
            [DT_TEXTREL, _] => return true,
            [DT_FLAGS, flags] if flags & DF_TEXTREL != 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident KiB of maps of this program with such permissions.
    fn resident(permissions: &str) -> u64 {
        let program = std::env::current_exe().unwrap().display().to_string();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut ours, mut sum) = (false, 0);
        for line in smaps.lines() {
            if line.contains(&program) {
                ours = line.contains(permissions);
            } else if ours && let Some(rest) = line.strip_prefix("Rss:") {
                sum += rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                ours = false;
            }
        }
        sum
    }

    #[test]
    fn the_program_goes_on_with_less_of_itself() {
        // Through a table that the loader has relocated.
        let words: [&dyn std::fmt::Display; 2] = [&"wax", &7];
        let before = resident("r-xp");
        let _held: Vec<Vec<u8>> = (0..100).map(|size| vec![1; size * 10]).collect();
        let_go();
        let after = resident("r-xp");
        assert!(after < before, "{before} KiB, then {after} KiB");
        assert_eq!(format!("{}{}", words[0], words[1]), "wax7");
        let_go();
        assert_eq!(std::thread::spawn(|| "another".len()).join().unwrap(), 7);
    }
}
