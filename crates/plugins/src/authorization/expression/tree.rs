//! An expression as it is written: what a parser makes and nothing has been checked of.

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::authorization) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    /// A point in time, in milliseconds since the epoch.
    Moment(i64),
    /// A length of time, in milliseconds.
    Span(i64),
}

/// A part of an expression and the byte it begins with, or its operator.
#[derive(Debug, PartialEq)]
pub(super) struct Tree {
    pub(super) at: usize,
    /// How deep it is: one more than the deepest of its parts.
    pub(super) depth: usize,
    pub(super) form: Form,
}

#[derive(Debug, PartialEq)]
pub(super) enum Form {
    Constant(Constant),
    Name(Box<str>),
    List(Vec<Tree>),
    Select(Box<Tree>, Box<str>),
    Index(Box<[Tree; 2]>),
    Call(Call),
    Not(Box<Tree>),
    Negative(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Binary(Operator, Box<[Tree; 2]>),
    Conditional(Box<[Tree; 3]>),
}

/// A call, of a function or on something.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) on: Option<Box<Tree>>,
    pub(super) name: Box<str>,
    pub(super) arguments: Vec<Tree>,
}

/// An operator between two parts, apart from `&&` and `||`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// What is wrong with an expression, and at which byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}
