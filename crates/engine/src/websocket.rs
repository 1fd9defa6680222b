//! Where one frame of a WebSocket ends and the next begins (RFC 6455 5.2), for somebody who passes them on. It never
//! looks at what they carry.

/// Says that the gateway goes away: a close frame with status 1001 (RFC 6455 5.5.1, 7.4.1), as servers send it.
pub const FAREWELL_TO_CLIENT: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
/// The same as clients send it: masked, here with a key of zeros, since nothing in it comes from anybody.
pub const FAREWELL_TO_SERVICE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

const CLOSE: u8 = 0x8;

/// The frames of one direction, followed octet by octet.
#[derive(Default)]
pub struct Frames {
    /// Octets of a frame's head that have passed.
    passed: usize,
    opcode: u8,
    masked: bool,
    /// Octets that the length takes behind the first two.
    extension: usize,
    /// Octets that belong to the payload still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Whether another frame may be put in here: none is under way, and none has said that it is the last.
    pub fn may_insert(&self) -> bool {
        self.passed == 0 && self.left == 0 && !self.closed
    }

    /// Takes note of octets that pass.
    pub fn pass(&mut self, mut octets: &[u8]) {
        if self.is_one_more(octets) {
            return;
        }
        while let Some((first, rest)) = octets.split_first() {
            if self.passed == 0 && self.left > 0 {
                let skipped = usize::try_from(self.left).map_or(octets.len(), |left| left.min(octets.len()));
                self.left -= skipped as u64;
                octets = &octets[skipped..];
            } else {
                self.pass_head(*first);
                octets = rest;
            }
        }
    }

    /// Whether they are a short frame, and nothing else is under way, as is so with most reads: afterwards all is as before.
    fn is_one_more(&self, octets: &[u8]) -> bool {
        let &[first, second, ..] = octets else { return false };
        let (length, head) = (usize::from(second & 0x7f), if second & 0x80 == 0 { 2 } else { 6 });
        let is_short = length < 126 && octets.len() == head + length;
        is_short && first & 0x0f != CLOSE && self.passed == 0 && self.left == 0
    }

    fn pass_head(&mut self, octet: u8) {
        match self.passed {
            0 => self.opcode = octet & 0x0f,
            1 => {
                self.masked = octet & 0x80 != 0;
                (self.extension, self.left) = match octet & 0x7f {
                    126 => (2, 0),
                    127 => (8, 0),
                    length => (0, u64::from(length)),
                };
            }
            place if place < 2 + self.extension => self.left = self.left << 8 | u64::from(octet),
            _ => {}
        }
        self.passed += 1;
        let head = 2 + self.extension + if self.masked { 4 } else { 0 };
        if self.passed >= 2 && self.passed == head {
            self.passed = 0;
            self.closed |= self.opcode == CLOSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut octets = vec![0x80 | opcode];
        match length {
            0..=125 => octets.push(mask | length as u8),
            126..=0xffff => {
                octets.push(mask | 126);
                octets.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                octets.push(mask | 127);
                octets.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        // A key and a payload that look like heads of frames.
        octets.resize(octets.len() + if masked { 4 } else { 0 } + length, 0x88);
        octets
    }

    #[test]
    fn a_frame_may_be_inserted_between_frames_and_nowhere_else() {
        for (masked, length) in
            [(false, 0), (true, 0), (false, 125), (true, 126), (false, 300), (true, 70_000)]
        {
            let octets = frame(2, masked, length);
            for piece in [1, 3, octets.len()] {
                let mut frames = Frames::default();
                let mut passed = 0;
                for part in octets.chunks(piece) {
                    frames.pass(part);
                    passed += part.len();
                    assert_eq!(
                        frames.may_insert(),
                        passed == octets.len(),
                        "{length} octets, {passed} passed"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut frames = Frames::default();
        frames.pass(&[frame(1, true, 5), frame(9, true, 0)].concat());
        assert!(frames.may_insert());
        frames.pass(FAREWELL_TO_SERVICE);
        assert!(!frames.may_insert());
    }

    #[test]
    fn the_longest_frame_there_can_be_is_followed() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert!(!frames.may_insert());
    }
}
