//! `kiln run -it` as somebody types it: in a terminal of tmux, with keys and a changing window.

use std::time::{Duration, Instant};

use kiln_tests::{Peer, wait_until};

use crate::world::World;

/// A shell in a terminal, in which `k` is kiln.
struct Terminal {
    tmux: Peer,
}

impl Terminal {
    fn open(world: &World) -> Option<Self> {
        let command = world.kiln([""; 0]).command();
        let word = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let variables = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), word(value?))));
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(word);
        let script: Vec<String> = variables.chain(words).collect();
        world.write("k", format!("#!/bin/sh\nexec env -i {} \"$@\"\n", script.join(" ")));
        let socket = world.path("tmux").display().to_string();
        let tmux = Peer::find("tmux")?.with(["-S", &socket, "-f", "/dev/null"]);
        let here = world.path("").display().to_string();
        let shell = "exec env PS1='host> ' PATH=/bin:/usr/bin sh";
        let size = ["-x", "90", "-y", "25"];
        let start = ["set", "-g", "status", "off", ";", "new-session", "-d", "-c", &here];
        tmux.run([&start[..], &size, &[shell]].concat()).success();
        let terminal = Self { tmux };
        terminal.until_prompt();
        Some(terminal)
    }

    /// What stands on the screen and above it.
    fn screen(&self) -> String {
        self.tmux.run(["capture-pane", "-p", "-J", "-S", "-"]).success().stdout()
    }

    /// Waits until this stands there.
    #[track_caller]
    fn until(&self, text: &str) -> String {
        self.until_it(text, |screen| screen.contains(text))
    }

    /// Waits until the shell asks for the next line.
    #[track_caller]
    fn until_prompt(&self) {
        self.until_it("the prompt", |screen| {
            screen.trim_end().lines().last().is_some_and(|line| line == "host>")
        });
    }

    #[track_caller]
    fn until_it(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < patience, "{what} never came:\n{screen}");
            std::thread::sleep(Duration::from_millis(20)); // tmux tells nobody of what is written
        }
    }

    /// Presses keys by their names.
    fn press(&self, keys: &[&str]) {
        self.tmux.run([&["send-keys"], keys].concat()).success();
    }

    /// Types a line.
    fn line(&self, text: &str) {
        self.tmux.run(["send-keys", "-l", text]).success();
        self.press(&["Enter"]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux.run(["kill-server"]);
    }
}

#[test]
fn a_shell_in_a_terminal_does_what_people_expect() {
    for world in World::each() {
        let Some(terminal) = Terminal::open(&world) else { return };
        terminal.line("stty -g > before");
        terminal.line("sh k run -it --name t busybox sh");
        terminal.until("/ #");
        terminal.line("stty size");
        terminal.until("25 90");
        terminal.tmux.run(["resize-window", "-x", "110", "-y", "33"]).success();
        terminal.line("until [ \"$(stty size)\" = '33 110' ]; do sleep 0.02; done; echo followed-$((1+1))");
        terminal.until("followed-2");

        // The program is interrupted, and neither its shell nor kiln.
        terminal.line("sleep 98765");
        assert!(wait_until(true, &["sleep", "98765"]));
        terminal.press(&["C-c"]);
        assert!(wait_until(false, &["sleep", "98765"]));
        terminal.line("echo alive-$((2+2))");
        let screen = terminal.until("alive-4");
        assert!(screen.contains("# echo alive-$((2+2))\nalive-4\n"), "what is typed shows once:\n{screen}");

        terminal.press(&["C-p", "C-q"]);
        terminal.until_prompt();
        terminal.line("stty -g > detached; echo here-$((3+3))");
        terminal.until("here-6");
        assert_eq!(world.field("t", "{{.State.Status}}"), "running");
        terminal.line("sh k attach t");
        terminal.line("echo back-$((4+4)); stty size");
        terminal.until("back-8\n33 110");

        terminal.press(&["C-d"]);
        terminal.until_prompt();
        terminal.line("echo code-$?; stty -g > ended; echo there-$((5+5))");
        assert!(terminal.until("there-10").contains("\ncode-0\n"));
        assert_eq!(world.field("t", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
        let modes = |file: &str| std::fs::read_to_string(world.path(file)).expect("what stty said");
        assert_eq!((&modes("before"), &modes("before")), (&modes("detached"), &modes("ended")));
    }
}

#[test]
fn a_shell_beside_the_program_ends_without_it() {
    for world in World::each() {
        let Some(terminal) = Terminal::open(&world) else { return };
        world.background("--name t", "sleep 1000");
        terminal.line("sh k exec -it t sh -c 'stty size; exec sh'");
        terminal.until("25 90");
        terminal.line("exit 9");
        terminal.until_prompt();
        terminal.line("echo code-$?");
        terminal.until("code-9");
        assert_eq!(world.field("t", "{{.State.Status}}"), "running");
        // Other keys to detach.
        terminal.tmux.run(["send-keys", "-R", ";", "clear-history"]).success();
        terminal.line("sh k run -it --rm --name u --detach-keys ctrl-x,x busybox sh");
        terminal.until("/ #");
        terminal.press(&["C-x", "x"]);
        terminal.until_prompt();
        terminal.line("echo detached-$((1+1))");
        terminal.until("detached-2");
        assert_eq!(world.field("u", "{{.State.Status}}"), "running");
    }
}
