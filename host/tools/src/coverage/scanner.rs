//! Reads JSON value by value (RFC 8259). A file of somebody else's takes no more memory than what is kept of it.

use std::fmt;

/// A text that is read from its beginning to its end.
pub struct Scanner<'a> {
    text: &'a str,
    /// The index of the next byte.
    at: usize,
}

/// Something else than what should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unexpected {
    line: usize,
    missing: &'static str,
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { line, missing } = self;
        write!(f, "{missing} is missing in line {line}")
    }
}

pub type Result<T> = std::result::Result<T, Unexpected>;

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What is missing here.
    pub fn missing(&self, missing: &'static str) -> Unexpected {
        let before = &self.text.as_bytes()[..self.at];
        Unexpected { line: 1 + before.iter().filter(|byte| **byte == b'\n').count(), missing }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn has(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn take(&mut self, byte: u8, name: &'static str) -> Result<()> {
        if self.has(byte) { Ok(()) } else { Err(self.missing(name)) }
    }

    /// What all of these bytes make up, from here on.
    fn run(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        self.at += self.text.as_bytes()[start..].iter().take_while(|byte| is_part(**byte)).count();
        &self.text[start..self.at]
    }

    /// An object. Each of its members is read by `member`, which is given its name.
    pub fn object<E: From<Unexpected>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.take(b'{', "`{`")?;
        if self.has(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.take(b':', "`:`")?;
            member(self, &name)?;
            if !self.has(b',') {
                return Ok(self.take(b'}', "`}`")?);
            }
        }
    }

    /// An array. Each of its elements is read by `element`.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.take(b'[', "`[`")?;
        if self.has(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.has(b',') {
                return self.take(b']', "`]`");
            }
        }
    }

    /// A whole number.
    pub fn number(&mut self) -> Result<u64> {
        self.peek();
        let digits = self.run(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        digits.parse().map_err(|_| self.missing("a whole number"))
    }

    pub fn string(&mut self) -> Result<String> {
        self.take(b'"', "a string")?;
        let mut string = String::new();
        loop {
            string += self.run(|byte| !b"\"\\".contains(&byte));
            let Some(byte) = self.text.as_bytes().get(self.at) else { return Err(self.missing("`\"`")) };
            self.at += 1;
            if *byte == b'"' {
                return Ok(string);
            }
            string.push(self.escaped()?);
        }
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char> {
        let byte = self.text.as_bytes().get(self.at);
        let char = match byte {
            Some(b'"' | b'\\' | b'/') => char::from(self.text.as_bytes()[self.at]),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.missing("an escape sequence")),
        };
        self.at += 1;
        Ok(char)
    }

    /// A character in one or two UTF-16 units, each as `uXXXX`. A half of one is replaced.
    fn unicode(&mut self) -> Result<char> {
        let first = self.unit()?;
        let is_half = (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u");
        let second = if is_half {
            self.at += 1;
            Some(self.unit()?)
        } else {
            None
        };
        let char = char::decode_utf16([first].into_iter().chain(second)).next();
        Ok(char.and_then(std::result::Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&mut self) -> Result<u16> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.missing("an escape sequence"))?;
        self.at += 5;
        Ok(unit)
    }

    /// Any value, which is not kept, so its parts need not be in order.
    pub fn skip(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                _ if self.run(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)).is_empty() => {
                    return Err(self.missing("a value"));
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// There is nothing more.
    pub fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.missing("the end")) }
    }
}
