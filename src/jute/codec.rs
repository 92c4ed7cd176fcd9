//! Reading and writing the primitive types.

use std::borrow::Cow;

/// Why bytes are not the record they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JuteError {
    /// The bytes end inside of a value.
    #[error("record ends after {have} bytes where {want} more were expected")]
    Truncated {
        /// Bytes wanted.
        want: usize,
        /// Bytes left.
        have: usize,
    },
    /// A length that is negative (and not the −1 of a null) or larger than what is left.
    #[error("length {0} is out of range")]
    BadLength(i32),
    /// A string that is not UTF-8.
    #[error("string is not valid UTF-8")]
    BadUtf8,
    /// A transaction or operation type that the protocol does not have.
    #[error("type {0} is unknown")]
    UnknownType(i32),
}

/// Reads values from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `want` bytes off the front.
    pub fn take(&mut self, want: usize) -> Result<&'a [u8], JuteError> {
        match self.rest.split_at_checked(want) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(JuteError::Truncated {
                want,
                have: self.rest.len(),
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], JuteError> {
        let taken = self.take(N)?;
        Ok(taken
            .try_into()
            .expect("take returns as many bytes as asked"))
    }

    /// Reads a length: `None` for the −1 of a null.
    fn length(&mut self) -> Result<Option<usize>, JuteError> {
        match i32::decode(self)? {
            -1 => Ok(None),
            length if length < 0 => Err(JuteError::BadLength(length)),
            length => Ok(Some(length as usize)),
        }
    }
}

/// A value with a jute encoding.
pub trait Record<'a>: Sized {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a value from the front of `from`.
    fn decode(from: &mut Decoder<'a>) -> Result<Self, JuteError>;

    /// The encoding as a vector of its own.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads a value from the front of `bytes`; what follows is ignored, as the reference does.
    fn from_slice(bytes: &'a [u8]) -> Result<Self, JuteError> {
        Self::decode(&mut Decoder::new(bytes))
    }
}

impl<'a> Record<'a> for i32 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(from: &mut Decoder<'a>) -> Result<i32, JuteError> {
        from.array().map(i32::from_be_bytes)
    }
}

impl<'a> Record<'a> for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(from: &mut Decoder<'a>) -> Result<i64, JuteError> {
        from.array().map(i64::from_be_bytes)
    }
}

impl<'a> Record<'a> for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(from: &mut Decoder<'a>) -> Result<bool, JuteError> {
        from.array().map(|[byte]| byte != 0)
    }
}

/// A string; a null reads as the empty string.
impl<'a> Record<'a> for &'a str {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as i32).encode(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(from: &mut Decoder<'a>) -> Result<&'a str, JuteError> {
        let Some(length) = from.length()? else {
            return Ok("");
        };
        std::str::from_utf8(from.take(length)?).map_err(|_| JuteError::BadUtf8)
    }
}

/// An owned string; a null reads as the empty string.
impl<'a> Record<'a> for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }

    fn decode(from: &mut Decoder<'a>) -> Result<String, JuteError> {
        <&str>::decode(from).map(str::to_owned)
    }
}

/// A string that is either borrowed from the bytes read or made by the server.
impl<'a> Record<'a> for Cow<'a, str> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_ref().encode(out);
    }

    fn decode(from: &mut Decoder<'a>) -> Result<Cow<'a, str>, JuteError> {
        <&str>::decode(from).map(Cow::Borrowed)
    }
}

/// A buffer, which may be null.
impl<'a> Record<'a> for Option<&'a [u8]> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => (-1).encode(out),
            Some(bytes) => {
                (bytes.len() as i32).encode(out);
                out.extend_from_slice(bytes);
            }
        }
    }

    fn decode(from: &mut Decoder<'a>) -> Result<Option<&'a [u8]>, JuteError> {
        match from.length()? {
            None => Ok(None),
            Some(length) => from.take(length).map(Some),
        }
    }
}

/// A vector; a null reads as an empty one.
impl<'a, T: Record<'a>> Record<'a> for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as i32).encode(out);
        for element in self {
            element.encode(out);
        }
    }

    fn decode(from: &mut Decoder<'a>) -> Result<Vec<T>, JuteError> {
        let count = from.length()?.unwrap_or(0);
        // Every element takes at least a byte, so a count beyond that is a lie that must not
        // make us allocate.
        if count > from.rest.len() {
            return Err(JuteError::BadLength(count as i32));
        }
        let mut elements = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            elements.push(T::decode(from)?);
        }
        Ok(elements)
    }
}

/// Declares a record: a structure whose encoding is that of its fields, one after the other.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $name:ident $(<$life:lifetime>)? { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        pub struct $name $(<$life>)? {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        $crate::jute::codec::record!(@impl $name [$($life)?] { $($field: $type),* });
    };
    (@impl $name:ident [] { $($field:ident: $type:ty),* }) => {
        impl<'a> $crate::jute::Record<'a> for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
                let _ = out;
            }

            fn decode(
                from: &mut $crate::jute::Decoder<'a>,
            ) -> Result<Self, $crate::jute::JuteError> {
                let _ = &from;
                Ok($name { $($field: <$type as $crate::jute::Record>::decode(from)?),* })
            }
        }
    };
    (@impl $name:ident [$life:lifetime] { $($field:ident: $type:ty),* }) => {
        impl<$life> $crate::jute::Record<$life> for $name<$life> {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }

            fn decode(
                from: &mut $crate::jute::Decoder<$life>,
            ) -> Result<Self, $crate::jute::JuteError> {
                Ok($name { $($field: <$type as $crate::jute::Record>::decode(from)?),* })
            }
        }
    };
}
pub(crate) use record;

/// Defines a record of numbers alone as [`record`] does. It is encoded in one piece, not field by field, each
/// of which would look whether there is room: for what nearly every reply holds.
macro_rules! fixed_record {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl<'a> $crate::jute::Record<'a> for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                let mut bytes = [0; 0 $(+ size_of::<$type>())*];
                let mut rest = &mut bytes[..];
                $(
                    let (field, after) = rest.split_at_mut(size_of::<$type>());
                    field.copy_from_slice(&self.$field.to_be_bytes());
                    rest = after;
                )*
                debug_assert!(rest.is_empty());
                out.extend_from_slice(&bytes);
            }

            fn decode(
                from: &mut $crate::jute::Decoder<'a>,
            ) -> Result<Self, $crate::jute::JuteError> {
                Ok($name { $($field: <$type as $crate::jute::Record>::decode(from)?),* })
            }
        }
    };
}
pub(crate) use fixed_record;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_bad_lengths() {
        assert_eq!(<&str>::from_slice(&[0xff; 4]), Ok(""));
        assert_eq!(Option::<&[u8]>::from_slice(&[0xff; 4]), Ok(None));
        assert_eq!(Vec::<i32>::from_slice(&[0xff; 4]), Ok(vec![]));
        assert_eq!(
            <&str>::from_slice(&[0xff, 0xff, 0xff, 0xfe]),
            Err(JuteError::BadLength(-2))
        );
        assert_eq!(
            Vec::<i64>::from_slice(&[0x7f, 0xff, 0xff, 0xff]),
            Err(JuteError::BadLength(i32::MAX))
        );
        assert_eq!(
            <&str>::from_slice(&[0, 0, 0, 2, b'a']),
            Err(JuteError::Truncated { want: 2, have: 1 })
        );
        assert_eq!(
            <&str>::from_slice(&[0, 0, 0, 1, 0xff]),
            Err(JuteError::BadUtf8)
        );
    }
}
