//! The `hooklatch` command as a user types it.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use super::Gateway;

/// What a command left behind.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts exit code 0; gives standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts an exit code; gives standard error.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self.stderr
    }

    /// Asserts exit code 0 and JSON on standard output.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(super::gateway::program());
    command.args(args).env_remove("STATE_DIRECTORY").env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `hooklatch ARGS` to its end.
#[track_caller]
pub fn hooklatch(args: &[&str]) -> Done {
    hooklatch_with(args, b"")
}

/// Runs `hooklatch ARGS` with `input` on standard input.
#[track_caller]
pub fn hooklatch_with(args: &[&str], input: &[u8]) -> Done {
    let mut child = command(args).spawn().unwrap();
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    Done::from(child.wait_with_output().unwrap())
}

/// Runs `hooklatch ARGS` in the folder `dir` and with an empty environment.
#[track_caller]
pub fn hooklatch_clean(args: &[&str], dir: &std::path::Path) -> Done {
    let output = command(args).env_clear().current_dir(dir).stdin(Stdio::null()).output();
    Done::from(output.unwrap())
}

/// Starts `hooklatch ARGS` and leaves it running; the caller kills it.
pub fn spawn_hooklatch(args: &[&str]) -> Child {
    command(args).spawn().unwrap()
}

impl Gateway {
    /// Runs `hooklatch ARGS` against this gateway's admin listener.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Done {
        let token = self.dir().join("token-of-the-cli");
        std::fs::write(&token, super::ADMIN_TOKEN).unwrap();
        let (admin, token) = (format!("http://{}", self.admin()), token.display().to_string());
        let mut all = args.to_vec();
        all.extend(["--admin", &admin, "--token-file", &token]);
        hooklatch(&all)
    }
}
