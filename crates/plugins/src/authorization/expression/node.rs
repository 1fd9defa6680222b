//! An expression that has been checked and is ready to be evaluated.

use std::net::IpAddr;

use regex::Regex;

use super::tree::{Constant, Operator};

/// What is known about a value before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whatever it turns out to be.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Moment,
    Span,
    List,
    Map,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Null => "null",
            Self::Bool => "a truth value",
            Self::Int => "an int",
            Self::Uint => "a uint",
            Self::Double => "a double",
            Self::Text => "a string",
            Self::Moment => "a timestamp",
            Self::Span => "a duration",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    pub(super) fn of(constant: &Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(_) => Self::Bool,
            Constant::Int(_) => Self::Int,
            Constant::Uint(_) => Self::Uint,
            Constant::Double(_) => Self::Double,
            Constant::Text(_) => Self::Text,
            Constant::Moment(_) => Self::Moment,
            Constant::Span(_) => Self::Span,
        }
    }
}

/// Something that is known about a request and who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::authorization) enum Fact {
    Method,
    Path,
    Host,
    Scheme,
    Time,
    /// A request field, by its name in lower case.
    Header(Box<str>),
    /// An argument of the query.
    Argument(Box<str>),
    /// A part of the path that the rule's patterns name, by its number.
    Parameter(usize),
    ClientAddress,
    Authenticated,
    ConsumerId,
    Username,
    CustomId,
    Tags,
    Groups,
    /// A claim of the caller's token, by its number in `plugin::claims::Claims`.
    Claim(usize),
    Roles,
    Scopes,
    RouteName,
    ServiceName,
}

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    Constants(Box<[Constant]>),
    List(Box<[Node]>),
    Fact(Fact),
    /// Whether there is such a thing.
    HasFact(Fact),
    /// The element that a macro looks at: that of the macro around so many others.
    Element(usize),
    Member(Box<Node>, Box<str>),
    HasMember(Box<Node>, Box<str>),
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negative(Box<Node>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Conditional(Box<[Node; 3]>),
    Binary(Operator, Box<[Node; 2]>),
    /// Whether the caller has the role of that number.
    HasRole(u32),
    /// Whether the caller has the scope of that number.
    HasScope(u32),
    Call(Function, Box<[Node]>),
    Matches(Box<Node>, Regex),
    Within(Box<Node>, Network),
    Elements(Quantity, Box<[Node; 2]>),
    Made(Box<Made>),
}

/// A list of what becomes of another list's elements, or of a map's names.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) of: Node,
    /// What an element must be; otherwise it is left out.
    pub(super) condition: Option<Node>,
    /// What becomes of an element; otherwise it stays what it is.
    pub(super) result: Option<Node>,
}

/// How many elements of a list must be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    All,
    Some,
    One,
}

/// A function of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    LowerAscii,
    UpperAscii,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToMoment,
    ToSpan,
    FullYear,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// Addresses that begin alike. An IPv4 address and the IPv6 address that maps it are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// The network written as `10.0.0.0/8`; none if it is not, or has bits set beyond those that count.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let first: IpAddr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        let (width, rest) = match first {
            IpAddr::V4(first) => (32, u128::from(first.to_bits()) << 96),
            IpAddr::V6(first) => (128, first.to_bits()),
        };
        let is_clean = bits <= width && rest.checked_shl(bits).unwrap_or(0) == 0;
        let is_mapped = first.to_canonical() != first;
        (is_clean && !is_mapped).then_some(Self { first, bits })
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}
