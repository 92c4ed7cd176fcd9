//! Commands on who may do what: getAcl, setAcl, addauth, whoami.

use super::command::{Command, Sort};
use super::error::CliError;
use super::nodes::version;
use super::options::{Spec, flag, value};
use super::shell::Shell;
use super::{acl, format, trees};

/// The commands on who may do what.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "getAcl",
        usage: "[-s] path",
        spec: Spec::any(&[flag("s", "stats")]),
        table_in_usage: false,
        run: get_acl,
        sort: Sort::Client,
    },
    Command {
        name: "setAcl",
        usage: "[-s] [-v version] [-R] path acl",
        spec: Spec::any(&[
            flag("s", "stats"),
            value("v", "version"),
            flag("R", "recursive"),
        ]),
        table_in_usage: false,
        run: set_acl,
        sort: Sort::Client,
    },
    Command {
        name: "addauth",
        usage: "scheme auth",
        spec: Spec::NONE,
        table_in_usage: false,
        run: add_auth,
        sort: Sort::Client,
    },
    Command {
        name: "whoami",
        usage: "",
        spec: Spec::NONE,
        table_in_usage: false,
        run: who_am_i,
        sort: Sort::Client,
    },
];

fn get_acl(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let (acl, stat) = shell.client().get_acl(&parsed.args[1])?;
    for entry in &acl {
        shell.out(&format::acl_entry(entry));
    }
    if parsed.has("s") {
        shell.out(&format::stat(&stat));
    }
    Ok(())
}

fn set_acl(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 2)?;
    let path = &parsed.args[1];
    let acl = acl::parse(&parsed.args[2], |complaint| shell.console().err(&complaint));
    let version = version(&parsed)?;
    let client = shell.client();
    if parsed.has("R") {
        return trees::walk(&client, path, None, &mut |path| {
            if let Err(error) = client.set_acl(path, &acl, version) {
                shell.console().raw(&error.to_string());
            }
            Ok(())
        });
    }
    let stat = client.set_acl(path, &acl, version)?;
    if parsed.has("s") {
        shell.out(&format::stat(&stat));
    }
    Ok(())
}

fn add_auth(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let auth = parsed.args.get(2).map(|auth| auth.as_bytes());
    shell.client().add_auth(&parsed.args[1], auth);
    Ok(())
}

fn who_am_i(shell: &mut Shell, _: &Command, _: &[String]) -> Result<(), CliError> {
    let identities = shell.client().who_am_i()?;
    shell.out("Auth scheme: User");
    for identity in identities {
        shell.out(&format!("{}: {}", identity.auth_scheme, identity.user));
    }
    Ok(())
}
