//! A mistake of the caller, answered in the one form that all messages have.

use std::fmt::{self, Display};

/// A message that says what was given, what is allowed, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(given: impl Display, allowed: impl Display, remedy: impl Display) -> Self {
        Self(format!("{given} was given, but {allowed}; {remedy}."))
    }

    /// A number outside a range.
    pub(crate) fn outside(name: impl Display, value: impl Display, range: impl Display) -> Self {
        Self::new(
            format_args!("`{name}={value}`"),
            format_args!("it must be a whole number from {range}"),
            "choose one in that range",
        )
    }

    /// Something in a state that no `state_dict` has written.
    pub(crate) fn in_state(given: impl Display, allowed: impl Display) -> Self {
        Self::new(given, allowed, "give a state that `state_dict` returned")
    }
}

impl std::error::Error for Error {}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
