use super::{give_back_start, unchanged};

const SMAPS: &str = "\
55d0a0000000-55d0a0100000 r--p 00000000 fd:00 1234                       /usr/bin/silver back
Rss:                 900 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d0a0100000-55d0a0300000 r-xp 00100000 fd:00 1234                       /usr/bin/silver back
Anonymous:             0 kB
55d0a0300000-55d0a0310000 r--p 00300000 fd:00 1234                       /usr/bin/silver back
Anonymous:            64 kB
55d0a0310000-55d0a0320000 rw-p 00310000 fd:00 1234                       /usr/bin/silver back
Anonymous:             0 kB
55d0b0000000-55d0b0020000 rw-p 00000000 00:00 0                          [heap]
Anonymous:             0 kB
7f0000000000-7f0000100000 r-xp 00026000 fd:00 99                         /usr/lib/libc.so.6
Anonymous:             0 kB
7f0000100000-7f0000200000 r--s 00000000 fd:00 1234                       /usr/bin/silver back
Anonymous:             0 kB
7f0000300000-7f0000400000 r--p 00000000 00:00 0 
Anonymous:             0 kB
";

/// Written pages (relocated data, a debugger's breakpoint), shared and foreign mappings have to stay.
#[test]
fn finds_what_is_as_in_the_file() {
    let expected = [0x55d0_a000_0000..0x55d0_a010_0000, 0x55d0_a010_0000..0x55d0_a030_0000];
    assert_eq!(unchanged(SMAPS, "/usr/bin/silver back"), expected);
    assert_eq!(unchanged(SMAPS, "/usr/bin/other"), []);
}

#[test]
fn program_goes_on_without_its_pages() {
    // More than a page of constants, and code of the standard library that has been run before.
    static TABLE: [u32; 4096] = [7; 4096];
    let sum = || TABLE.iter().map(|n| format!("{n:>3}").len()).sum::<usize>();
    assert_eq!(sum(), 3 * 4096);
    give_back_start().expect("pages are given back");
    assert_eq!(sum(), 3 * 4096);
}
