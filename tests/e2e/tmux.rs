//! A terminal that a person could sit at: tmux keeps it, types into it, and says what is on its screen.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A screen changes within milliseconds, and in an emulated host within seconds. Claude Code takes a minute there until it draws one.
const LIMIT: Duration = Duration::from_secs(240);

/// A shell on a terminal of its own. Dropping it ends both.
pub(crate) struct Tmux {
    dir: TempDir,
}

impl Tmux {
    /// An interactive shell with the prompt `host$ `, the least of its kind: what it finds the terminal to be like it leaves
    /// as it is.
    pub(crate) fn start(columns: u16, rows: u16, env: &[(&str, &Path)]) -> Self {
        let tmux = Self { dir: TempDir::new().unwrap() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = tmux.command(&["new-session", "-d", "-x", &columns, "-y", &rows]);
        start.args(
            env.iter()
                .flat_map(|(name, value)| ["-e".to_owned(), format!("{name}={}", value.to_str().unwrap())]),
        );
        start.args(["-e", "PS1=host$ ", "-e", "COLORTERM=truecolor", "dash", "-i"]);
        assert!(start.status().unwrap().success(), "{start:?}");
        // Whoever looks at it has a window of another size.
        tmux.run(&["set-option", "-g", "window-size", "manual"]);
        tmux.until_prompt("host$ ");
        tmux
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.dir.path().join("socket")).args(["-f", "/dev/null", "-u"]).args(words);
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types text, as it is.
    pub(crate) fn type_text(&self, text: &str) {
        self.run(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys by their names, such as `Enter` and `C-c`.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// A line, and Enter.
    pub(crate) fn line(&self, text: &str) {
        self.type_text(text);
        self.press(&["Enter"]);
    }

    /// What is on the screen, without colours.
    pub(crate) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// The same with escape sequences for them.
    pub(crate) fn coloured_screen(&self) -> String {
        self.run(&["capture-pane", "-p", "-e"])
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub(crate) fn until(&self, text: &str) {
        self.until_screen(text, |screen| screen.contains(text));
    }

    /// Waits until the last line on the screen ends in this, a prompt.
    #[track_caller]
    pub(crate) fn until_prompt(&self, prompt: &str) {
        self.until_screen(prompt, |screen| screen.trim_end().ends_with(prompt.trim_end()));
    }

    #[track_caller]
    pub(crate) fn until_screen(&self, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let screen = self.screen();
            if is(&screen) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what:?} within {LIMIT:?} on this screen:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Empties the screen, so that nothing old is taken for new.
    pub(crate) fn clear(&self) {
        self.run(&["send-keys", "-R"]);
        self.run(&["clear-history"]);
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// The process id of the shell.
    pub(crate) fn shell(&self) -> u32 {
        self.run(&["display-message", "-p", "#{pane_pid}"]).trim().parse().unwrap()
    }

    /// The terminal's modes as `stty -a` has them, without its size.
    pub(crate) fn modes(&self) -> String {
        let terminal = self.run(&["display-message", "-p", "#{pane_tty}"]);
        let output = Command::new("stty").args(["-a", "-F", terminal.trim()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_once('\n').unwrap().1.to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        drop(self.command(&["kill-server"]).stderr(Stdio::null()).status());
    }
}
