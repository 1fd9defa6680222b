//! Makes a tree of an expression (CEL specification, Syntax). Bounded in depth, so that no expression exhausts the stack.

use super::lexer::{Lexer, Token};
use super::tree::{Call, Constant, Fault, Form, Operator, Tree};

/// Deepest nesting of an expression.
const DEEPEST: usize = 48;

/// Words that are kept for other languages.
const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

/// Makes a tree of `text`.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Tree, Fault> {
    let mut lexer = Lexer::new(text);
    let next = lexer.next()?;
    let mut parser = Parser { lexer, next, level: 0 };
    let tree = parser.conditional()?;
    match parser.next {
        (_, Token::End) => Ok(tree),
        (at, token) => {
            Err(Fault::new(at, format!("an operator or the end is expected, not {}", shown(&token))))
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: (usize, Token<'a>),
    /// How many parts are open.
    level: usize,
}

/// What an operator is between: `Relation` binds least.
#[derive(Clone, Copy)]
enum Binding {
    Relation,
    Sum,
    Product,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(), Fault> {
        self.next = self.lexer.next()?;
        Ok(())
    }

    /// Takes the mark if it is next; where it stands.
    fn take(&mut self, mark: &str) -> Result<Option<usize>, Fault> {
        match self.next {
            (at, Token::Mark(next)) if next == mark => {
                self.advance()?;
                Ok(Some(at))
            }
            _ => Ok(None),
        }
    }

    fn expect(&mut self, mark: &str) -> Result<(), Fault> {
        match self.take(mark)? {
            Some(_) => Ok(()),
            None => Err(self.unexpected(&format!("{mark:?}"))),
        }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let (at, token) = &self.next;
        Fault::new(*at, format!("{expected} is expected, not {}", shown(token)))
    }

    fn conditional(&mut self) -> Result<Tree, Fault> {
        self.level += 1;
        if self.level > DEEPEST {
            return Err(too_deep(self.next.0));
        }
        let condition = self.any()?;
        let tree = match self.take("?")? {
            Some(at) => {
                let first = self.any()?;
                self.expect(":")?;
                let second = self.conditional()?;
                let depth = condition.depth.max(first.depth).max(second.depth);
                tree(at, depth, Form::Conditional(Box::new([condition, first, second])))?
            }
            None => condition,
        };
        self.level -= 1;
        Ok(tree)
    }

    fn any(&mut self) -> Result<Tree, Fault> {
        let first = self.all()?;
        let Some(at) = self.take("||")? else { return Ok(first) };
        let mut parts = vec![first, self.all()?];
        while self.take("||")?.is_some() {
            parts.push(self.all()?);
        }
        tree(at, deepest(&parts), Form::Any(parts))
    }

    fn all(&mut self) -> Result<Tree, Fault> {
        let first = self.binary(Binding::Relation)?;
        let Some(at) = self.take("&&")? else { return Ok(first) };
        let mut parts = vec![first, self.binary(Binding::Relation)?];
        while self.take("&&")?.is_some() {
            parts.push(self.binary(Binding::Relation)?);
        }
        tree(at, deepest(&parts), Form::All(parts))
    }

    fn binary(&mut self, binding: Binding) -> Result<Tree, Fault> {
        let tighter = |parser: &mut Self| match binding {
            Binding::Relation => parser.binary(Binding::Sum),
            Binding::Sum => parser.binary(Binding::Product),
            Binding::Product => parser.unary(),
        };
        let mut left = tighter(self)?;
        while let Some(operator) = operator(binding, &self.next.1) {
            let at = self.next.0;
            self.advance()?;
            let right = tighter(self)?;
            let depth = left.depth.max(right.depth);
            left = tree(at, depth, Form::Binary(operator, Box::new([left, right])))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Tree, Fault> {
        let mut marks = Vec::new();
        while let (at, Token::Mark(mark @ ("!" | "-"))) = self.next {
            if marks.len() == DEEPEST {
                return Err(too_deep(at));
            }
            marks.push((at, mark));
            self.advance()?;
        }
        // The sign of a number is part of it.
        if let (Some((_, "-")), (at, token)) = (marks.last(), &self.next)
            && let Some(negative) = negative(*at, token)?
        {
            self.next.1 = Token::Constant(negative);
            marks.pop();
        }
        let mut operand = self.member()?;
        for (at, mark) in marks.into_iter().rev() {
            let depth = operand.depth;
            let operand_of = Box::new(operand);
            let form = if mark == "!" { Form::Not(operand_of) } else { Form::Negative(operand_of) };
            operand = tree(at, depth, form)?;
        }
        Ok(operand)
    }

    fn member(&mut self) -> Result<Tree, Fault> {
        let mut member = self.primary()?;
        loop {
            if self.take(".")?.is_some() {
                let (at, name) = self.word()?;
                member = match self.take("(")? {
                    Some(_) => {
                        let arguments = self.list(")")?;
                        let depth = member.depth.max(deepest(&arguments));
                        let call = Call { on: Some(Box::new(member)), name, arguments };
                        tree(at, depth, Form::Call(call))?
                    }
                    None => tree(at, member.depth, Form::Select(Box::new(member), name))?,
                };
            } else if let Some(at) = self.take("[")? {
                let key = self.conditional()?;
                self.expect("]")?;
                let depth = member.depth.max(key.depth);
                member = tree(at, depth, Form::Index(Box::new([member, key])))?;
            } else {
                return Ok(member);
            }
        }
    }

    fn primary(&mut self) -> Result<Tree, Fault> {
        let at = self.next.0;
        if self.take("(")?.is_some() {
            let inner = self.conditional()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[")?.is_some() {
            let elements = self.list("]")?;
            return tree(at, deepest(&elements), Form::List(elements));
        }
        let constant = match &self.next.1 {
            Token::Constant(constant) => constant.clone(),
            Token::Natural(number) => {
                let number = i64::try_from(*number);
                Constant::Int(
                    number.map_err(|_| Fault::new(at, "this number is beyond 64 bits with a sign"))?,
                )
            }
            Token::Word(_) => return self.named(),
            Token::Mark("{") => return Err(Fault::new(at, "maps cannot be written here")),
            _ => return Err(self.unexpected("a value")),
        };
        self.advance()?;
        tree(at, 0, Form::Constant(constant))
    }

    /// A name, a call, or a constant that is a word.
    fn named(&mut self) -> Result<Tree, Fault> {
        let (at, name) = self.word()?;
        let constant = match &*name {
            "true" => Constant::Bool(true),
            "false" => Constant::Bool(false),
            "null" => Constant::Null,
            _ if self.take("(")?.is_some() => {
                let arguments = self.list(")")?;
                return tree(at, deepest(&arguments), Form::Call(Call { on: None, name, arguments }));
            }
            "b" | "B" | "rb" | "br" if matches!(self.next.1, Token::Constant(Constant::Text(_))) => {
                return Err(Fault::new(at, "there are no bytes here, only text"));
            }
            _ => return tree(at, 0, Form::Name(name)),
        };
        tree(at, 0, Form::Constant(constant))
    }

    fn word(&mut self) -> Result<(usize, Box<str>), Fault> {
        let (at, Token::Word(word)) = self.next else { return Err(self.unexpected("a name")) };
        if RESERVED.contains(&word) {
            return Err(Fault::new(at, format!("{word:?} is a word that CEL keeps and no name")));
        }
        self.advance()?;
        Ok((at, word.into()))
    }

    /// Expressions between commas, up to `end`.
    fn list(&mut self, end: &str) -> Result<Vec<Tree>, Fault> {
        let mut elements = Vec::new();
        while self.take(end)?.is_none() {
            elements.push(self.conditional()?);
            if self.take(",")?.is_none() {
                self.expect(end)?;
                break;
            }
        }
        Ok(elements)
    }
}

/// The constant with a minus before it; none if `token` is no number.
fn negative(at: usize, token: &Token<'_>) -> Result<Option<Constant>, Fault> {
    match token {
        Token::Natural(number) => {
            let negative = 0i64.checked_sub_unsigned(*number).map(Constant::Int);
            negative.map(Some).ok_or_else(|| Fault::new(at, "this number is beyond 64 bits with a sign"))
        }
        Token::Constant(Constant::Double(number)) => Ok(Some(Constant::Double(-number))),
        _ => Ok(None),
    }
}

fn operator(binding: Binding, token: &Token<'_>) -> Option<Operator> {
    Some(match (binding, token) {
        (Binding::Relation, Token::Mark("==")) => Operator::Equal,
        (Binding::Relation, Token::Mark("!=")) => Operator::Unequal,
        (Binding::Relation, Token::Mark("<")) => Operator::Less,
        (Binding::Relation, Token::Mark("<=")) => Operator::LessOrEqual,
        (Binding::Relation, Token::Mark(">")) => Operator::Greater,
        (Binding::Relation, Token::Mark(">=")) => Operator::GreaterOrEqual,
        (Binding::Relation, Token::Word("in")) => Operator::In,
        (Binding::Sum, Token::Mark("+")) => Operator::Add,
        (Binding::Sum, Token::Mark("-")) => Operator::Subtract,
        (Binding::Product, Token::Mark("*")) => Operator::Multiply,
        (Binding::Product, Token::Mark("/")) => Operator::Divide,
        (Binding::Product, Token::Mark("%")) => Operator::Remainder,
        _ => return None,
    })
}

fn deepest(parts: &[Tree]) -> usize {
    parts.iter().map(|part| part.depth).max().unwrap_or(0)
}

/// A tree whose deepest part is `depth` deep.
fn tree(at: usize, depth: usize, form: Form) -> Result<Tree, Fault> {
    if depth >= DEEPEST { Err(too_deep(at)) } else { Ok(Tree { at, depth: depth + 1, form }) }
}

fn too_deep(at: usize) -> Fault {
    Fault::new(at, format!("more than {DEEPEST} parts are nested here: split the expression"))
}

fn shown(token: &Token<'_>) -> String {
    match token {
        Token::Word(word) => format!("{word:?}"),
        Token::Natural(number) => number.to_string(),
        Token::Constant(Constant::Text(_)) => "a string".to_owned(),
        Token::Constant(_) => "a number".to_owned(),
        Token::Mark(mark) => format!("{mark:?}"),
        Token::End => "the end".to_owned(),
    }
}
