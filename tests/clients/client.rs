//! What the client programs have in common, and the scene that most tests begin with.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fact;
use crate::process::Outcome;
use crate::server::Server;
use crate::team::{Login, Team};

/// A client program as one person uses it, with login files and a store of their own.
pub(crate) trait Client: Sized {
    /// What the names of its trials begin with.
    const NAME: &'static str;

    /// What it says on standard error.
    const WORDS: Words;

    /// A person who has not logged in anywhere.
    fn new() -> Self;

    /// Logs in at `door`. Where a program asks the registry nothing at a login, this always succeeds.
    fn login(&self, door: &str, login: &Login) -> Outcome;

    /// Makes content that differs by `greeting`, to be pushed as `reference`.
    fn make(&self, reference: &str, greeting: &str);

    /// Gives the content of `reference` another name.
    fn tag(&self, reference: &str, other: &str);

    /// Pushes what was made as `reference`.
    fn push(&self, reference: &str) -> Outcome;

    /// Pulls `reference`, which may end with a digest.
    fn pull(&self, reference: &str) -> Outcome;

    /// Removes what was made or pulled as `reference` on this side.
    fn forget(&self, reference: &str);

    /// The greeting in what was pulled as `reference`.
    fn greeting(&self, reference: &str) -> String;
}

/// How a program words what it does not leave to the registry: some hide the registry's sentence, some add theirs.
#[derive(Debug)]
pub(crate) struct Words {
    /// A password that the registry does not know.
    pub(crate) wrong_password: &'static str,
    /// A registry credential that has been revoked.
    pub(crate) revoked: &'static str,
    /// A pull from another team.
    pub(crate) foreign_pull: &'static str,
}

/// A server with one team, and a person of the team who has logged in at both doors.
#[derive(Debug)]
pub(crate) struct Scene<C> {
    pub(crate) server: Server,
    pub(crate) team: Team,
    pub(crate) client: C,
}

impl<C: Client> Scene<C> {
    /// Logged in with a credential that pulls and pushes.
    pub(crate) fn start() -> Self {
        Self::start_as(|team| team.credential(&json!({})))
    }

    /// Logged in with a credential that was asked for with `request`.
    pub(crate) fn start_with(request: &Value) -> Self {
        Self::start_as(|team| team.credential(request))
    }

    /// Logged in with what `login` chooses.
    pub(crate) fn start_as(login: impl FnOnce(&Team) -> Login) -> Self {
        let server = Server::start();
        let team = Team::new(&server, "blue");
        let scene = Self {
            server,
            team,
            client: C::new(),
        };
        let login = login(&scene.team);
        scene.enter(&login);
        scene
    }

    /// Logs in at both doors with `login`.
    pub(crate) fn enter(&self, login: &Login) {
        self.enter_as(&self.client, login);
    }

    /// Logs another person in at both doors with `login`, whatever program they use.
    pub(crate) fn enter_as(&self, person: &impl Client, login: &Login) {
        for door in [&self.server.registry, &self.server.pull_door] {
            person.login(door, login).succeeded();
        }
    }

    /// Another person of the team, with another program.
    pub(crate) fn colleague<D: Client>(&self) -> D {
        let colleague = D::new();
        self.enter_as(&colleague, &self.team.credential(&json!({})));
        colleague
    }

    /// Makes `image` (such as `app:v1`) with `greeting` and pushes it; gives its digest.
    #[track_caller]
    pub(crate) fn push(&self, image: &str, greeting: &str) -> String {
        let reference = self.team.reference(image);
        self.client.make(&reference, greeting);
        self.client.push(&reference).succeeded();
        let (name, tag) = image.rsplit_once(':').expect("an image has a tag");
        self.team.digest(name, tag)
    }

    /// Pulls `reference` anew and asserts that it has `greeting`.
    #[track_caller]
    pub(crate) fn pulls(&self, reference: &str, greeting: &str) {
        self.client.pull(reference).succeeded();
        assert_eq!(self.client.greeting(reference), greeting, "{reference}");
        self.client.forget(reference);
    }
}

/// A reference as the name of a file.
pub(crate) fn file_name(reference: &str) -> String {
    reference.replace(['/', ':', '@'], "_")
}

/// The trials of facts that hold for the client `C`; each name is a sentence about it.
pub(crate) fn trials_of<C: Client>(facts: &[(&str, fn())]) -> Vec<Trial> {
    let trial = |&(name, test): &(&str, fn())| fact(&format!("{}::{name}", C::NAME), test);
    facts.iter().map(trial).collect()
}
