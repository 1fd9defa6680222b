//! Where a field lies in the arena, and whether it is the one looked for.

use super::Field;
use crate::message::known::Known;

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) name_start: u32,
    pub(super) value_start: u32,
    pub(super) value_length: u32,
    pub(super) name_length: u16,
    pub(super) known: Known,
    /// It lies in the arena as it is to be printed, with colon, space and line end.
    pub(super) printed: bool,
}

impl Entry {
    #[inline]
    fn name_end(&self) -> usize {
        self.name_start as usize + usize::from(self.name_length)
    }

    #[inline]
    pub(super) fn end(&self) -> usize {
        self.value_start as usize + self.value_length as usize
    }

    #[inline]
    pub(super) fn field<'a>(&self, arena: &'a [u8]) -> Field<'a> {
        Field {
            known: self.known,
            name: &arena[self.name_start as usize..self.name_end()],
            value: &arena[self.value_start as usize..self.end()],
        }
    }
}

/// A name to look for, classified once.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) known: Known,
    pub(super) name: &'a [u8],
}

impl<'a> Wanted<'a> {
    #[inline]
    pub(super) fn new(name: &'a [u8]) -> Wanted<'a> {
        Wanted { known: Known::classify(name), name }
    }

    pub(super) fn known(known: Known) -> Wanted<'static> {
        Wanted { known, name: known.as_str().as_bytes() }
    }

    #[inline]
    pub(super) fn is_name_of(self, entry: &Entry, arena: &[u8]) -> bool {
        entry.known == self.known
            && (self.known != Known::Other
                || (usize::from(entry.name_length) == self.name.len()
                    && arena[entry.name_start as usize..entry.name_end()].eq_ignore_ascii_case(self.name)))
    }
}

pub(super) fn offset(place: usize) -> u32 {
    u32::try_from(place).expect("the arena is bounded well below 4 GiB")
}

pub(super) fn name_length(name: &[u8]) -> u16 {
    u16::try_from(name.len()).expect("names are checked against MAX_NAME")
}
