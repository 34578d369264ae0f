//! A value of a JSON file that knows where it is, so that every refusal can say it.

use serde_json::Value;

use super::TokenizerCompileError;

/// What is found where a file has nothing.
static NULL: Value = Value::Null;

/// A step of a field's path.
#[derive(Clone, Debug)]
pub(super) enum At {
    Name(String),
    Item(usize),
}

/// A value and its path.
#[derive(Clone, Debug)]
pub(super) struct Field<'v> {
    pub(super) file: &'static str,
    path: Vec<At>,
    pub(super) value: &'v Value,
}

impl<'v> Field<'v> {
    pub(super) fn root(file: &'static str, value: &'v Value) -> Self {
        Self { file, path: Vec::new(), value }
    }

    fn step(&self, at: At, value: Option<&'v Value>) -> Self {
        let mut path = self.path.clone();
        path.push(at);
        Self { file: self.file, path, value: value.unwrap_or(&NULL) }
    }

    /// A member of an object; null if it is absent.
    pub(super) fn get(&self, name: &str) -> Self {
        self.step(At::Name(name.to_owned()), self.value.get(name))
    }

    pub(super) fn item(&self, at: usize) -> Self {
        self.step(At::Item(at), self.value.get(at))
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn items(&self) -> Result<Vec<Self>, TokenizerCompileError> {
        match self.value {
            Value::Array(items) => Ok((0..items.len()).map(|at| self.item(at)).collect()),
            _ => Err(self.unexpected("a list")),
        }
    }

    pub(super) fn string(&self) -> Result<&'v str, TokenizerCompileError> {
        self.value.as_str().ok_or_else(|| self.unexpected("a string"))
    }

    /// A boolean; absent means `default`.
    pub(super) fn flag(&self, default: bool) -> Result<bool, TokenizerCompileError> {
        if self.is_null() { Ok(default) } else { self.value.as_bool().ok_or_else(|| self.unexpected("true or false")) }
    }

    pub(super) fn id(&self, vocab_size: u32) -> Result<u32, TokenizerCompileError> {
        match self.value.as_u64() {
            Some(id) if id < u64::from(vocab_size) => Ok(id as u32),
            _ => Err(self.unexpected(&format!("a token id below the model's vocabulary size {vocab_size}"))),
        }
    }

    /// The `type` of an object; "null" if there is no object.
    pub(super) fn kind(&self) -> Result<&'v str, TokenizerCompileError> {
        if self.is_null() { Ok("null") } else { self.get("type").string() }
    }

    /// Refuses unless the value equals one of these.
    pub(super) fn must_be(&self, allowed: &[Value]) -> Result<(), TokenizerCompileError> {
        if allowed.contains(self.value) {
            return Ok(());
        }
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let allowed = allowed.join(" or ").replace("null", "nothing");
        Err(self.unexpected(&allowed))
    }

    pub(super) fn unexpected(&self, expected: &str) -> TokenizerCompileError {
        let mut found = if self.is_null() { "nothing".to_owned() } else { self.value.to_string() };
        if let Some((cut, _)) = found.char_indices().nth(120) {
            found.truncate(cut);
            found.push('…');
        }
        self.error(expected, found)
    }

    pub(super) fn error(&self, expected: &str, found: impl Into<String>) -> TokenizerCompileError {
        let mut field = String::new();
        for at in &self.path {
            match at {
                At::Name(name) if field.is_empty() => field.push_str(name),
                At::Name(name) => {
                    field.push('.');
                    field.push_str(name);
                }
                At::Item(at) => field.push_str(&format!("[{at}]")),
            }
        }
        if field.is_empty() {
            field.push_str("the file");
        }
        TokenizerCompileError::Field { file: self.file, field, expected: expected.to_owned(), found: found.into() }
    }
}

pub(super) fn object(field: &Field<'_>) -> Result<(), TokenizerCompileError> {
    if field.value.is_object() { Ok(()) } else { Err(field.unexpected("an object")) }
}
