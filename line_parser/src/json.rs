//! Where the values of a line of JSON begin and end. What is no JSON, or may be none to some, is not taken.

/// Brackets inside brackets that Python takes in any case; what is nested deeper is left to it.
const DEPTH: usize = 100;

/// Which bytes of some lines may end a run of text: quotes, backslashes and control characters, such as newlines.
///
/// A bit for each byte, found for many bytes at once, since looking for the end of each text costs more.
#[derive(Default)]
pub struct Stops(Vec<u64>);

impl Stops {
    pub fn find(&mut self, bytes: &[u8]) {
        self.0.clear();
        let (blocks, rest) = bytes.as_chunks::<64>();
        self.0.extend(blocks.iter().map(stops));
        let mut last = [0; 64];
        last[..rest.len()].copy_from_slice(rest);
        self.0.extend([stops(&last), !0]);
    }

    /// The first one from `place` on.
    fn next(&self, mut place: usize) -> Option<usize> {
        loop {
            let (word, bit) = (place / 64, place % 64);
            let pair = self.0.get(word..word + 2)?;
            // Of the next 64 bytes, whichever words their bits are in: where a text begins in its word nobody can guess.
            let bits = pair[0] >> bit | pair[1] << 1 << (63 - bit);
            if bits != 0 {
                return Some(place + bits.trailing_zeros() as usize);
            }
            place += 64;
        }
    }
}

fn stops(block: &[u8; 64]) -> u64 {
    let marks = block.map(|byte| u8::from(byte < b' ' || byte == b'"' || byte == b'\\'));
    // The product has the lowest bits of eight bytes, side by side, as its highest byte.
    let bits = |eight: &[u8; 8]| (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    let (eights, _) = marks.as_chunks::<8>();
    u64::from_le_bytes(std::array::from_fn(|number| bits(&eights[number])))
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Null,
    /// A text without escapes.
    Plain,
    Escaped,
    Number,
    /// `true`, `false`, an object or an array.
    Other,
}

/// The JSON of a value.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    pub text: &'a str,
    pub shape: Shape,
}

impl<'a> Json<'a> {
    /// A text without escapes.
    pub fn plain(&self) -> Option<&'a str> {
        (self.shape == Shape::Plain).then(|| &self.text[1..self.text.len() - 1])
    }

    pub fn number(&self) -> Option<&'a str> {
        (self.shape == Shape::Number).then_some(self.text)
    }
}

/// A name and the quote after it, to compare at once with what is there.
pub struct Packed {
    bytes: u128,
    mask: u128,
    length: usize,
}

impl Packed {
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut mask = [0; 16];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        *bytes.get_mut(name.len())? = b'"';
        mask[..=name.len()].fill(u8::MAX);
        Some(Self { bytes: u128::from_le_bytes(bytes), mask: u128::from_le_bytes(mask), length: name.len() })
    }
}

/// Reads a line. Whatever returns None has met something that is not plainly good: the line is left to Python.
pub struct Cursor<'s, 'a> {
    line: &'a str,
    at: usize,
    stops: &'s Stops,
    /// Where the line begins in what `stops` is of.
    start: usize,
}

impl<'s, 'a> Cursor<'s, 'a> {
    pub fn new(line: &'a str, stops: &'s Stops, start: usize) -> Self {
        Self { line, at: 0, stops, start }
    }

    pub fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Calls `member` where the name of each member begins, to read it and its value.
    pub fn object(&mut self, depth: usize, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip(b'{').filter(|_| depth <= DEPTH)?;
        if self.skip(b'}').is_some() {
            return Some(());
        }
        loop {
            self.peek()?;
            member(self)?;
            if self.skip(b',').is_none() {
                return self.skip(b'}');
            }
        }
    }

    /// The name of a value, as it is written.
    pub fn name(&mut self) -> Option<Json<'a>> {
        let start = self.at;
        let shape = self.text()?;
        Some(Json { text: self.line.get(start..self.at)?, shape })
    }

    /// Whether the next name is this one, which is passed over then.
    pub fn skip_name(&mut self, name: &Packed) -> bool {
        let is_it = match &self.line.as_bytes()[self.at..] {
            [b'"', rest @ ..] => {
                rest.first_chunk().is_some_and(|next| u128::from_le_bytes(*next) & name.mask == name.bytes)
            }
            _ => false,
        };
        self.at += if is_it { name.length + 2 } else { 0 };
        is_it
    }

    /// A value that is inside of `depth` brackets.
    pub fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        self.peek()?;
        let start = self.at;
        let shape = self.shape(depth)?;
        Some(Json { text: self.line.get(start..self.at)?, shape })
    }

    fn shape(&mut self, depth: usize) -> Option<Shape> {
        match self.peek()? {
            b'"' => self.text(),
            b'{' => self.object(depth + 1, |cursor| cursor.member(depth + 1)).map(|()| Shape::Other),
            b'[' => self.array(depth + 1).map(|()| Shape::Other),
            b't' => self.word("true").map(|()| Shape::Other),
            b'f' => self.word("false").map(|()| Shape::Other),
            b'n' => self.word("null").map(|()| Shape::Null),
            _ => self.number().map(|()| Shape::Number),
        }
    }

    fn member(&mut self, depth: usize) -> Option<()> {
        self.text()?;
        self.skip(b':')?;
        self.shape(depth).map(drop)
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.skip(b'[').filter(|_| depth <= DEPTH)?;
        if self.skip(b']').is_some() {
            return Some(());
        }
        loop {
            self.shape(depth)?;
            if self.skip(b',').is_none() {
                return self.skip(b']');
            }
        }
    }

    fn text(&mut self) -> Option<Shape> {
        if self.byte()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut shape = Shape::Plain;
        loop {
            self.at = self.stops.next(self.start + self.at)? - self.start;
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
            shape = Shape::Escaped;
        }
        self.at += 1;
        Some(shape)
    }

    fn escape(&mut self) -> Option<()> {
        let rest = &self.line.as_bytes()[self.at + 1..];
        self.at += match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.byte() == Some(b'-'));
        let whole = self.at;
        self.digits()?;
        if self.line.as_bytes()[whole] == b'0' && self.at > whole + 1 {
            return None;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let is_there = self.line.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_there.then_some(())
    }

    /// The next byte if it is this one, after white space.
    pub fn skip(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The next byte after white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }
}
