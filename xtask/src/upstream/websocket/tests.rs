//! The vectors of RFC 6455.

use super::*;

#[test]
fn answers_the_handshake_of_the_rfc() {
    // RFC 6455, section 1.3.
    assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn unmasks_a_frame() {
    // RFC 6455, section 5.7: a masked "Hello".
    let mut bytes: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read_frame(&mut bytes).unwrap(), (0x81, b"Hello".to_vec()));
}

#[test]
fn refuses_a_frame_that_is_not_masked() {
    let mut bytes: &[u8] = &[0x81, 0x02, b'h', b'i'];
    assert_eq!(read_frame(&mut bytes).unwrap_err().kind(), ErrorKind::InvalidData);
}
