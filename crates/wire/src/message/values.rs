//! Values of fields that are kept for long and in great number, in one piece: no name is kept with them, and they lie
//! next to each other, so that whoever adds them to a header section touches as few places of the memory as can be.

use std::fmt;

use super::headers::MAX_ARENA;
use super::known::Known;
use crate::grammar::{is_field_value, trim_whitespace};

/// Values of up to `FIELDS` fields with classified names, and other bytes that belong to them. All of it lies within the
/// value if it takes no more than `ROOM` bytes, and in an allocation of its own otherwise.
pub struct Values<const FIELDS: usize, const ROOM: usize> {
    text: Text<ROOM>,
    /// The fields, in the order of their values; [`Known::Other`] for one that has none.
    places: [Place; FIELDS],
    /// Where the first value begins.
    beside: u32,
}

/// A value begins where the one before it ends.
#[derive(Clone, Copy)]
struct Place {
    end: u32,
    known: Known,
}

enum Text<const ROOM: usize> {
    Within([u8; ROOM]),
    Apart(Box<[u8]>),
}

impl<const FIELDS: usize, const ROOM: usize> Values<FIELDS, ROOM> {
    /// Keeps the values of `fields` without surrounding whitespace, and `beside`, which is no field. A value with CR, LF, NUL
    /// or another control byte is left out, as one is that does not fit into any header section.
    pub fn new(beside: &[u8], fields: [(Known, Option<&[u8]>); FIELDS]) -> Self {
        let mut text = beside.to_vec();
        let places = fields.map(|(known, value)| {
            let value = value.map(trim_whitespace).filter(|value| {
                known != Known::Other && is_field_value(value) && text.len() + value.len() < MAX_ARENA
            });
            text.extend_from_slice(value.unwrap_or_default());
            Place { end: place(text.len()), known: value.map_or(Known::Other, |_| known) }
        });
        Self { text: Text::new(text), places, beside: place(beside.len()) }
    }

    /// The bytes that are no field.
    #[inline]
    pub fn beside(&self) -> &[u8] {
        &self.text.bytes()[..self.beside as usize]
    }

    /// The value of a field.
    #[inline]
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        self.fields().find(|(other, _)| *other == known).map(|(_, value)| value)
    }

    /// The fields that have a value, in order.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = (Known, &[u8])> {
        let (text, mut start) = (self.text.bytes(), self.beside as usize);
        let all = self.places.iter().map(move |place| {
            let value = &text[start..place.end as usize];
            start = place.end as usize;
            (place.known, value)
        });
        all.filter(|(known, _)| *known != Known::Other)
    }
}

impl<const ROOM: usize> Text<ROOM> {
    fn new(text: Vec<u8>) -> Self {
        let mut within = [0; ROOM];
        match within.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(&text);
                Self::Within(within)
            }
            None => Self::Apart(text.into_boxed_slice()),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Within(bytes) => bytes,
            Self::Apart(bytes) => bytes,
        }
    }
}

fn place(length: usize) -> u32 {
    u32::try_from(length).expect("values are bounded, and so is what a configuration holds, well below 4 GiB")
}

/// Tells the fields; what lies beside them may be a secret.
impl<const FIELDS: usize, const ROOM: usize> fmt::Debug for Values<FIELDS, ROOM> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields().map(|(known, value)| (known.as_str(), String::from_utf8_lossy(value)));
        out.debug_map().entries(fields).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Headers;
    use super::*;

    type Two = Values<2, 16>;

    fn two<'v>(beside: &str, id: &'v str, username: impl Into<Option<&'v str>>) -> Two {
        let username = username.into().map(str::as_bytes);
        let fields = [(Known::XConsumerId, Some(id.as_bytes())), (Known::XConsumerUsername, username)];
        Values::new(beside.as_bytes(), fields)
    }

    fn appended(values: &Two) -> Vec<(String, String)> {
        let mut headers = Headers::new();
        headers.set_known(Known::Host, b"here");
        assert!(headers.append_values(values));
        let mut printed = Vec::new();
        headers.write_to(&mut printed);
        let printed = String::from_utf8(printed).unwrap();
        assert!(printed.ends_with("\r\n"));
        let lines = printed.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_become_fields_wherever_they_lie() {
        for (beside, username) in [("key", "ada"), ("key", "of a length that does not fit"), ("", "ada")] {
            let values = two(beside, " 17 ", username);
            let expected = [("X-Consumer-ID", "17"), ("X-Consumer-Username", username)];
            assert_eq!(appended(&values), pairs(&expected));
            assert_eq!(values.beside(), beside.as_bytes());
            assert_eq!(values.known(Known::XConsumerUsername), Some(username.as_bytes()));
            assert_eq!(values.known(Known::Host), None);
        }
    }

    #[test]
    fn they_lie_within_as_long_as_there_is_room() {
        assert!(matches!(two("key-", "123456", "789012").text, Text::Within(_)));
        assert!(matches!(two("key-", "123456", "7890123").text, Text::Apart(_)));
    }

    #[test]
    fn what_cannot_stand_in_a_field_is_left_out_and_the_next_one_is_not() {
        let values = two("a\r\nb", "1\r\nX-Admin: yes", "ada");
        assert_eq!(appended(&values), pairs(&[("X-Consumer-Username", "ada")]));
        assert_eq!(values.known(Known::XConsumerId), None);
        assert_eq!(values.known(Known::Other), None);
        assert_eq!(appended(&two("", "", None)), pairs(&[("X-Consumer-ID", "")]));
    }

    #[test]
    fn nothing_is_appended_to_a_section_that_has_no_room_for_all() {
        let long = "x".repeat(MAX_ARENA - 100);
        let mut headers = Headers::new();
        assert!(headers.set_known(Known::Via, long.as_bytes()));
        assert!(!headers.append_values(&two("", &"1".repeat(60), "ada")));
        assert_eq!(headers.len(), 1);
        assert!(headers.append_values(&two("", "1", "ada")));
    }

    #[test]
    fn what_lies_beside_is_not_printed() {
        assert_eq!(format!("{:?}", two("secret", "1", None)), r#"{"X-Consumer-ID": "1"}"#);
    }
}
