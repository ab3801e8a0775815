use super::{blocks, fill};

const MAPS: &str = "\
1ff000-601000 rw-p 00000000 00:00 0                          [heap]
800000-a00000 r--p 00000000 00:00 0 
a00000-c00000 rw-p 00000000 fd:00 99                         /usr/lib/libc.so.6
c00000-e00000 rw-s 00000000 00:00 0 
1000000-1200000 rw-p 00000000 00:00 0 
1200000-13ff000 rw-p 00000000 00:00 0                        [stack]
1400000-1600000 rw-p 00000000 00:00 0                        [anon: glibc: malloc]
";

#[test]
fn finds_whole_blocks_of_own_memory() {
    let found: Vec<_> = blocks(MAPS, 0x20_0000).map(|block| block.start).collect();
    assert_eq!(found, [0x20_0000, 0x40_0000, 0x100_0000, 0x140_0000]);
}

#[test]
fn memory_stays_what_it_was() {
    let filled: Vec<u32> = (0..4 << 20).collect();
    fill().ok();
    assert!(filled.iter().copied().eq(0..4 << 20));
}
