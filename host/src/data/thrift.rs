//! How much work a parquet file's metadata asks for, before the crate `parquet` does it.
//!
//! The metadata are structs of Thrift's compact protocol. What a reader does not know it skips, and
//! `parquet` 60 skips booleans of a list without taking a byte of it: a list of two thousand million of
//! them takes six bytes, and a list of such lists keeps it busy for hours (fuzzing found it). Here the
//! same bytes are walked as that reader walks them, and the elements that it would skip are counted.
//!
//! A reader that knows a field reads it as the type that it should have, whatever the file says; so
//! that nothing hides behind that, known fields of another type are refused.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Most elements of collections that the header of a page may skip: a header of today has none.
const HEADER_ELEMENTS: u64 = 1024;
/// How deep what is skipped may nest, as in the reader.
const DEPTH: usize = 64;
/// Length of the footer and `PAR1`, the end of a file.
const TAIL: u64 = 8;

/// Type of a field that the reader knows. A struct has those of its fields, from the one numbered 1.
enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List(&'static Type),
    Struct(&'static [Type]),
    /// An [`I32`] with the bytes of the page that follows.
    PageSize,
    /// The reader skips it.
    Skipped,
}

use Type::{Binary, Bool, Double, I8, I16, I32, I64, List, PageSize, Skipped, Struct};

const EMPTY: Type = Struct(&[]);
const KEY_VALUE: Type = Struct(&[Binary, Binary]);
const UNIT: Type = Struct(&[EMPTY, EMPTY, EMPTY]);
const TIME: Type = Struct(&[Bool, UNIT]);
const LOGICAL_TYPE: Type = Struct(&[
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    Struct(&[I32, I32]),
    EMPTY,
    TIME,
    TIME,
    Skipped,
    Struct(&[I8, Bool]),
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    Struct(&[I8]),
    Struct(&[Binary]),
    Struct(&[Binary, I32]),
    EMPTY,
]);
const SCHEMA_ELEMENT: Type =
    Struct(&[I32, I32, I32, Binary, I32, I32, I32, I32, I32, LOGICAL_TYPE]);
const STATISTICS: Type = Struct(&[Binary, Binary, I64, I64, Binary, Binary, Bool, Bool, I64]);
const BOUNDING_BOX: Type = Struct(&[
    Double, Double, Double, Double, Double, Double, Double, Double,
]);
const COLUMN_METADATA: Type = Struct(&[
    I32,
    List(&I32),
    Skipped,
    I32,
    I64,
    I64,
    I64,
    Skipped,
    I64,
    I64,
    I64,
    STATISTICS,
    List(&Struct(&[I32, I32, I32])),
    I64,
    I32,
    Struct(&[I64, List(&I64), List(&I64)]),
    Struct(&[BOUNDING_BOX, List(&I32)]),
]);
const COLUMN_CHUNK: Type = Struct(&[Binary, I64, COLUMN_METADATA, I64, I32, I64, I32]);
const ROW_GROUP: Type = Struct(&[
    List(&COLUMN_CHUNK),
    I64,
    I64,
    List(&Struct(&[I32, Bool, Bool])),
    I64,
    Skipped,
    I16,
]);
const FILE_METADATA: &[Type] = &[
    I32,
    List(&SCHEMA_ELEMENT),
    I64,
    List(&ROW_GROUP),
    List(&KEY_VALUE),
    Binary,
    List(&UNIT),
];
const PAGE_HEADER: &[Type] = &[
    I32,
    I32,
    PageSize,
    I32,
    Struct(&[I32, I32, I32, I32]),
    EMPTY,
    Struct(&[I32, I32, Bool]),
    Struct(&[I32, I32, I32, I32, I32, I32, Bool]),
];

impl Type {
    /// Whether this is what a field or an element of the wire's type `code` can be.
    fn matches(&self, code: u8) -> bool {
        match self {
            Bool => matches!(code, 1 | 2),
            I8 => code == 3,
            I16 => code == 4,
            I32 | PageSize => code == 5,
            I64 => code == 6,
            Double => code == 7,
            Binary => code == 8,
            List(_) => code == 9,
            Struct(_) => code == 12,
            Skipped => true,
        }
    }
}

/// Why a walk ended early.
#[derive(Debug)]
enum End {
    /// The reader will come to the same end, and say so.
    Broken,
    /// It must not get so far.
    Refused(String),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Broken
    }
}

/// Refuses the file at `path` if its footer asks for more work than it has bytes.
///
/// # Errors
/// What is wrong, for the user. A file that is no parquet file, or ends early, is none of these.
pub(super) fn check_footer(path: &Path) -> Result<(), String> {
    let check = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let tail = length.checked_sub(TAIL).ok_or(End::Broken)?;
        file.seek(SeekFrom::Start(tail))?;
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)?;
        let footer = u64::from(u32::from_le_bytes(bytes));
        file.seek(SeekFrom::Start(
            tail.checked_sub(footer).ok_or(End::Broken)?,
        ))?;
        let mut walk = Walk::new(BufReader::new(file.take(footer)), footer);
        walk.fields(FILE_METADATA, 0)
    };
    refused(check()).map_err(|why| format!("the footer: {why}"))
}

/// The same for the headers of the pages between bytes `start` and `start + length` of the file.
///
/// # Errors
/// As [`check_footer`].
pub(super) fn check_pages(path: &Path, start: u64, length: u64) -> Result<(), String> {
    let end = start.saturating_add(length);
    let mut at = start;
    let mut check = || {
        let mut file = File::open(path)?;
        while at < end {
            file.seek(SeekFrom::Start(at))?;
            let mut walk = Walk::new(BufReader::with_capacity(256, &file), HEADER_ELEMENTS);
            walk.fields(PAGE_HEADER, 0)?;
            let page = u64::try_from(walk.page_size).map_err(|_| End::Broken)?;
            at = at.saturating_add(walk.taken).saturating_add(page);
        }
        Ok(())
    };
    refused(check()).map_err(|why| format!("the page at byte {at}: {why}"))
}

fn refused(walked: Result<(), End>) -> Result<(), String> {
    match walked {
        Err(End::Refused(why)) => Err(why),
        Ok(()) | Err(End::Broken) => Ok(()),
    }
}

struct Walk<R> {
    bytes: R,
    /// Bytes walked over.
    taken: u64,
    /// Elements that may still be skipped.
    elements: u64,
    /// The last [`PageSize`].
    page_size: i64,
}

impl<R: Read> Walk<R> {
    fn new(bytes: R, elements: u64) -> Self {
        Self {
            bytes,
            taken: 0,
            elements,
            page_size: 0,
        }
    }

    fn byte(&mut self) -> Result<u8, End> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte)?;
        self.taken += 1;
        Ok(byte[0])
    }

    fn skip(&mut self, n: u64) -> Result<(), End> {
        let skipped = std::io::copy(&mut self.bytes.by_ref().take(n), &mut std::io::sink())?;
        self.taken += skipped;
        if skipped == n {
            Ok(())
        } else {
            Err(End::Broken)
        }
    }

    /// As the reader, bits beyond the 64th are lost.
    fn varint(&mut self) -> Result<u64, End> {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift = shift.wrapping_add(7);
        }
    }

    fn signed(&mut self) -> Result<i64, End> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The fields of a struct up to its end, of which `known` have a type; `depth` counts what is
    /// skipped around them.
    fn fields(&mut self, known: &[Type], depth: usize) -> Result<(), End> {
        let mut last = 0i16;
        loop {
            let head = self.byte()?;
            let (delta, code) = (head >> 4, head & 0xf);
            if code == 0 {
                return Ok(());
            }
            let id = match delta {
                0 => self.signed()? as i16,
                _ => last.checked_add(i16::from(delta)).ok_or(End::Broken)?,
            };
            let place = usize::try_from(id).ok().and_then(|i| i.checked_sub(1));
            let of = place.and_then(|i| known.get(i)).unwrap_or(&Skipped);
            if !of.matches(code) {
                let why = format!("field {id} has the type {code}, which it cannot have");
                return Err(End::Refused(why));
            }
            self.value(of, code, depth)?;
            last = id;
        }
    }

    /// A value of the wire's type `code`.
    fn value(&mut self, of: &Type, code: u8, depth: usize) -> Result<(), End> {
        let depth = match of {
            PageSize => {
                self.page_size = self.signed()?;
                return Ok(());
            }
            Skipped => depth + 1,
            _ => depth,
        };
        if depth > DEPTH {
            return Err(End::Broken);
        }
        match code {
            // In the field's head; in a list the reader takes no byte either.
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => self.list(of, depth),
            11 => self.map(depth),
            12 => {
                let known: &[Type] = if let Struct(known) = of { known } else { &[] };
                self.fields(known, depth)
            }
            13 => self.skip(16),
            _ => Err(End::Broken),
        }
    }

    fn list(&mut self, of: &Type, depth: usize) -> Result<(), End> {
        let head = self.byte()?;
        // So some writers begin an empty list.
        if head == 0 {
            return Ok(());
        }
        let (short, code) = (head >> 4, head & 0xf);
        let size = if short == 15 {
            self.varint()?
        } else {
            u64::from(short)
        };
        let element = if let List(element) = of {
            element
        } else {
            &Skipped
        };
        if !element.matches(code) {
            return Err(End::Broken);
        }
        self.count(size)?;
        for _ in 0..size {
            self.value(element, code, depth)?;
        }
        Ok(())
    }

    fn map(&mut self, depth: usize) -> Result<(), End> {
        let size = self.varint()?;
        if size == 0 {
            return Ok(());
        }
        let codes = self.byte()?;
        self.count(size.saturating_mul(2))?;
        for _ in 0..size {
            self.value(&Skipped, codes >> 4, depth)?;
            self.value(&Skipped, codes & 0xf, depth)?;
        }
        Ok(())
    }

    fn count(&mut self, elements: u64) -> Result<(), End> {
        let left = self.elements.checked_sub(elements);
        self.elements = left.ok_or_else(|| {
            let why = format!("a collection of {elements} elements has no room there");
            End::Refused(why)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A list of 2³⁰ booleans, for which the reader takes no further byte.
    const BOOLEANS: [u8; 6] = [0xf1, 0x80, 0x80, 0x80, 0x80, 0x04];

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    fn with_footer(footer: &[u8]) -> tempfile::NamedTempFile {
        let length = (footer.len() as u32).to_le_bytes();
        file(&[b"PAR1", footer, &length, b"PAR1"].concat())
    }

    /// The head of a data page of `size` bytes, without the end of its struct.
    fn page(size: u8) -> Vec<u8> {
        let header = [0x15, 0, 0x15, 2 * size, 0x15, 2 * size];
        let data_page = [0x2c, 0x15, 2, 0x15, 0, 0x15, 0, 0x15, 0, 0];
        [&header[..], &data_page].concat()
    }

    #[test]
    fn files_that_others_wrote_are_not_refused() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-sample");
        for name in ["train.parquet", "test.parquet"] {
            check_footer(&sample.join(name)).expect(name);
        }
        let read = super::super::parquet::read_encoded(&sample.join("test.parquet"));
        assert_eq!(read.expect("its pages too").labels.len(), 1000);
    }

    #[test]
    fn lists_that_take_no_bytes_are_refused() {
        // Field 20, which no version knows: a list of lists.
        let unknown = [&[0x09, 40, 0x19][..], &BOOLEANS, &[0]].concat();
        let refused = check_footer(with_footer(&unknown).path()).expect_err("footer");
        assert!(
            refused.starts_with("the footer: a collection of 1073741824"),
            "{refused}"
        );

        let first = [page(3), vec![0], vec![9; 3]].concat();
        let second = [page(3), unknown, vec![9; 3]].concat();
        let whole = [&first[..], &second].concat();
        let bad = file(&whole);
        let refused = check_pages(bad.path(), 0, whole.len() as u64).expect_err("page");
        let at = format!("the page at byte {}: a collection", first.len());
        assert!(refused.starts_with(&at), "{refused}");
        // The reader does not come to it.
        check_pages(bad.path(), 0, first.len() as u64).expect("the first page is right");
    }

    #[test]
    fn what_nests_as_deep_as_the_reader_goes_is_counted() {
        // A list of lists, 62 deep, then booleans; in field 20 of the file, and of a row group.
        let deep = [&[0x09, 40][..], &[0x19; 62], &BOOLEANS, &[0]].concat();
        check_footer(with_footer(&deep).path()).expect_err("the file's");
        let in_group = [&[0x49, 0x1c][..], &deep].concat();
        check_footer(with_footer(&in_group).path()).expect_err("a group's");
        let deeper = [&[0x09, 40][..], &[0x19; 64], &BOOLEANS, &[0]].concat();
        check_footer(with_footer(&deeper).path()).expect("the reader gives up itself");
    }

    #[test]
    fn nothing_hides_behind_another_type() {
        // The version as a text: the reader takes a number, and then what the text holds.
        let hidden = [&[0x18, 8, 0x09, 40][..], &BOOLEANS, &[0]].concat();
        let refused = check_footer(with_footer(&hidden).path()).expect_err("a text");
        assert!(refused.contains("field 1 has the type 8"), "{refused}");
    }

    #[test]
    fn what_ends_early_is_left_to_the_reader() {
        for bytes in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1"] {
            check_footer(file(bytes).path()).expect("not ours to say");
        }
        check_footer(with_footer(&[0x29]).path()).expect("not ours to say");
        check_pages(file(&page(3)).path(), 0, 100).expect("not ours to say");
        check_footer(Path::new("/nowhere")).expect("not ours to say");
    }
}
