//! A line to the database that a test can cut, or let hang.

use std::net::SocketAddr;
use std::pin::pin;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It carries what comes.
    Carries,
    /// It takes connections and bytes, and carries nothing.
    Hangs,
    /// Connections end, and new ones end at once.
    IsCut,
}

/// A line from a port of this machine to a server. It ends with the runtime of its test.
pub(super) struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Line {
    pub(super) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = watch::channel(State::Carries);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.clone(), watched.clone()));
            }
        });
        Self { address, state }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn carry(mut client: TcpStream, target: String, mut state: watch::Receiver<State>) {
    if *state.borrow() == State::IsCut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let mut copying = pin!(copy_bidirectional(&mut client, &mut server));
    loop {
        let now = *state.borrow_and_update();
        match now {
            State::IsCut => return,
            State::Hangs => {
                if state.changed().await.is_err() {
                    return;
                }
            }
            State::Carries => tokio::select! {
                _ = &mut copying => return,
                changed = state.changed() => if changed.is_err() { return },
            },
        }
    }
}
