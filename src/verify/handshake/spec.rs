//! The words of a handshake and of the answer that a provider wants, as typed; nothing here is checked yet.

/// `[handshake]`, or one of `[[handshakes]]`, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeSpec {
    /// `method`: one or a list; none is `POST`.
    pub methods: Vec<String>,
    /// `when`: a table of selector words and what must stand there, all of them.
    pub when: Vec<(String, WhenSpec)>,
    /// `signed`; without it `true`.
    pub signed: Option<bool>,
    /// `status`; without it 200.
    pub status: Option<u16>,
    /// `headers`: a table of names and templates.
    pub headers: Vec<(String, String)>,
    /// `text`: a template.
    pub text: Option<String>,
    /// `json`: an object whose strings are templates.
    pub json: Option<serde_json::Value>,
    /// `charset`.
    pub charset: Option<String>,
    /// `length`: least and most bytes of a value.
    pub length: Option<(usize, usize)>,
    /// `capture`: a selector.
    pub capture: Option<String>,
    /// `confirm`.
    pub confirm: Option<ConfirmSpec>,
}

/// What must stand at a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenSpec {
    /// Anything (`true`), or nothing (`false`).
    There(bool),
    /// One of these texts, or a setting of the route, `"{handshake:NAME}"`.
    Is(Vec<String>),
}

/// `confirm = { … }` as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfirmSpec {
    /// `url`: a selector.
    pub url: String,
    /// `host`: one pattern or a list.
    pub hosts: Vec<String>,
}

/// `[answer]` as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerSpec {
    /// `status`.
    pub status: Option<u16>,
    /// `body`.
    pub body: Option<String>,
    /// `deadline`: a duration.
    pub deadline: Option<String>,
}
