//! Bytes from outside as a window of text: unpacked, decoded, with the line
//! known, and never more in memory than a record may have.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use encoding_rs::{Encoding, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::bufread::MultiGzDecoder;

use super::xlsx::Workbook;
use super::{IntakeError, RECORD_BYTES_MAX};

/// How much is read at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// A file, by what its first bytes say.
pub(super) enum Input<'a> {
    Text(SourceText<'a>),
    Workbook(Box<Workbook>),
}

impl<'a> Input<'a> {
    pub fn open(input: impl Read + 'a, encoding: Option<&'static Encoding>) -> Result<Input<'a>, IntakeError> {
        let unpacked = Unpacked::open(input)?;
        if unpacked.head.starts_with(ZIP) {
            return Workbook::open(unpacked.head.chain(unpacked.source)).map(|book| Input::Workbook(Box::new(book)));
        }
        SourceText::of(unpacked, encoding).map(Input::Text)
    }
}

/// How every archive begins that is no empty one.
const ZIP: &[u8] = b"PK\x03\x04";

/// A file without its gzip, and its first bytes.
struct Unpacked<'a> {
    source: Box<dyn Read + 'a>,
    head: FileHead,
    gzip: bool,
    bytes: Rc<Cell<u64>>,
}

impl<'a> Unpacked<'a> {
    fn open(input: impl Read + 'a) -> Result<Unpacked<'a>, IntakeError> {
        let bytes = Rc::new(Cell::new(0));
        let mut source: Box<dyn Read + 'a> = Box::new(CountingReader { input, bytes: Rc::clone(&bytes) });
        let head = peek(&mut source).map_err(|source| IntakeError::Read { source })?;
        let gzip = head.starts_with(&[0x1f, 0x8b]);
        let mut source: Box<dyn Read + 'a> = Box::new(head.chain(source));
        if gzip {
            source = Box::new(MultiGzDecoder::new(BufReader::with_capacity(WINDOW_BYTES, source)));
        }
        let head = peek(&mut source).map_err(|source| unpack_error(gzip, source))?;
        Ok(Unpacked { source, head, gzip, bytes })
    }
}

/// The text of a file from the first byte not yet consumed.
pub(super) struct SourceText<'a> {
    source: Box<dyn Read + 'a>,
    gzip: bool,
    /// The encoding that was decoded; none if the bytes are passed through.
    decoded: Option<&'static Encoding>,
    marked: bool,
    bytes: Rc<Cell<u64>>,
    window: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    line: u64,
    column: u64,
}

impl<'a> SourceText<'a> {
    fn of(unpacked: Unpacked<'a>, encoding: Option<&'static Encoding>) -> Result<SourceText<'a>, IntakeError> {
        let Unpacked { source, head, gzip, bytes } = unpacked;
        refuse_foreign(&head)?;
        let with_mark = head.starts_with(b"\xef\xbb\xbf");
        let utf16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
        let named = encoding.filter(|&named| named != UTF_8 && !with_mark);
        let decoded = if utf16 { Encoding::for_bom(&head).map(|(encoding, _)| encoding) } else { named };
        let head = if with_mark { head.slice(3) } else { head };
        let mut source: Box<dyn Read + 'a> = Box::new(head.chain(source));
        if decoded.is_some() {
            source = Box::new(
                DecodeReaderBytesBuilder::new()
                    .encoding(decoded)
                    .strip_bom(true)
                    .build_with_buffer(source, vec![0; WINDOW_BYTES])
                    .map_err(|source| IntakeError::Read { source })?,
            );
        }
        Ok(SourceText {
            source,
            gzip,
            decoded,
            marked: with_mark || decoded.is_some(),
            bytes,
            window: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            ended: false,
            line: 1,
            column: 1,
        })
    }

    /// Whether the file was not plain UTF-8: decoded, or with a byte order mark.
    pub fn marked(&self) -> bool {
        self.marked
    }

    /// How many bytes of the input were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The line of the next byte, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The place of the next byte in its line, from 1.
    pub fn column(&self) -> u64 {
        self.column
    }

    fn rest(&self) -> &[u8] {
        &self.window[self.start..self.end]
    }

    /// Reads until the window is full or the input has ended; grows it first
    /// if nothing in it is consumed.
    fn fill(&mut self) -> Result<(), IntakeError> {
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else if self.end == self.window.len() {
            self.window.resize(self.window.len() * 2, 0);
        }
        while self.end < self.window.len() {
            match self.source.read(&mut self.window[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unpack_error(self.gzip, error)),
            }
        }
        Ok(())
    }

    /// The next bytes, at most `wanted`; fewer only at the end.
    pub fn head(&mut self, wanted: usize) -> Result<&[u8], IntakeError> {
        while self.rest().len() < wanted && !self.ended {
            self.fill()?;
        }
        let rest = self.rest();
        Ok(&rest[..rest.len().min(wanted)])
    }

    /// What `scan` finds at the start of the text. It is given the bytes at
    /// hand and whether they are the last, and answers None to see more. None
    /// at the end of the text.
    pub fn scan<T>(&mut self, mut scan: impl FnMut(&[u8], bool) -> Option<T>) -> Result<Option<T>, IntakeError> {
        loop {
            if self.rest().is_empty() && self.ended {
                return Ok(None);
            }
            if let Some(found) = scan(self.rest(), self.ended) {
                return Ok(Some(found));
            }
            if self.rest().len() > RECORD_BYTES_MAX {
                return Err(IntakeError::RecordLong { line: self.line });
            }
            debug_assert!(!self.ended, "a scan of the last bytes decides");
            self.fill()?;
        }
    }

    /// The next `len` bytes as text.
    pub fn text(&self, len: usize) -> Result<&str, IntakeError> {
        if len > RECORD_BYTES_MAX {
            return Err(IntakeError::RecordLong { line: self.line });
        }
        let bytes = &self.rest()[..len];
        let line_at = |at: usize| self.line + memchr::memchr_iter(b'\n', &bytes[..at]).count() as u64;
        let text =
            std::str::from_utf8(bytes).map_err(|error| IntakeError::NotUtf8 { line: line_at(error.valid_up_to()) })?;
        if let Some(encoding) = self.decoded
            && let Some(at) = text.find(char::REPLACEMENT_CHARACTER)
        {
            return Err(IntakeError::NotEncoded { line: line_at(at), encoding: encoding.name() });
        }
        Ok(text)
    }

    /// Moves past the next `len` bytes.
    pub fn consume(&mut self, len: usize) {
        let bytes = &self.window[self.start..self.start + len];
        match memchr::memrchr(b'\n', bytes) {
            Some(last) => {
                self.line += memchr::memchr_iter(b'\n', &bytes[..last]).count() as u64 + 1;
                self.column = (len - last) as u64;
            }
            None => self.column += len as u64,
        }
        self.start += len;
    }

    /// Moves past white space and tells the byte after it, if there is one.
    pub fn skip_space(&mut self) -> Result<Option<u8>, IntakeError> {
        loop {
            let space = self.rest().iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
            self.consume(space);
            if let Some(&byte) = self.rest().first() {
                return Ok(Some(byte));
            }
            if self.ended {
                return Ok(None);
            }
            self.fill()?;
        }
    }
}

fn unpack_error(gzip: bool, source: io::Error) -> IntakeError {
    match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof if gzip => {
            IntakeError::Gzip { source }
        }
        _ => IntakeError::Read { source },
    }
}

/// Files that people take for text, and what to do about each.
fn refuse_foreign(head: &FileHead) -> Result<(), IntakeError> {
    let foreign: &[(&[u8], &str, &str)] = &[
        (ZIP, "a zip archive or a spreadsheet", "save the sheet as CSV, or unpack the archive first"),
        (b"PK\x05\x06", "an empty zip archive", "pack what is meant again"),
        (
            b"\xd0\xcf\x11\xe0",
            "an old spreadsheet (.xls), or one with a password",
            "save the sheet as .xlsx without a password, or as CSV",
        ),
        (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it first, or pack it with gzip"),
        (b"\xfd7zXZ", "packed with xz", "unpack it first, or pack it with gzip"),
        (b"BZh", "packed with bzip2", "unpack it first, or pack it with gzip"),
        (b"\x1f\x8b", "packed with gzip twice", "unpack it once"),
        (b"%PDF", "a PDF", "export the table as CSV"),
    ];
    match foreign.iter().find(|(magic, ..)| head.starts_with(magic)) {
        Some(&(_, kind, advice)) => Err(IntakeError::Foreign { kind, advice }),
        None => Ok(()),
    }
}

/// The first bytes of a stream, taken off it to be looked at.
struct FileHead {
    bytes: [u8; 8],
    start: usize,
    end: usize,
}

fn peek(source: &mut impl Read) -> io::Result<FileHead> {
    let mut head = FileHead { bytes: [0; 8], start: 0, end: 0 };
    while head.end < head.bytes.len() {
        match source.read(&mut head.bytes[head.end..]) {
            Ok(0) => break,
            Ok(read) => head.end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

impl FileHead {
    fn slice(mut self, skip: usize) -> FileHead {
        self.start += skip;
        self
    }
}

impl std::ops::Deref for FileHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl Read for FileHead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = (&**self).read(out)?;
        self.start += read;
        Ok(read)
    }
}

/// A reader that tells how much was read.
struct CountingReader<R> {
    input: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}
