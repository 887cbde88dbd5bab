//! Confirmations: a provider is told that its events are wanted, by asking for an address that it sent.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use crate::ingress::Confirmation;

/// Waits between attempts. A provider sends its challenge again, or an operator does from its console.
const WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Asks for every address that comes, one at a time, until the front door is gone.
pub(super) async fn run<F>(mut queue: Receiver<Confirmation>, ask: impl Fn(String) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    while let Some(Confirmation { route, address }) = queue.recv().await {
        match persist(&address, &ask).await {
            Ok(()) => {
                tracing::info!(route = &*route, "the provider was told that its events are wanted here")
            }
            // The address holds a token: it is in no log.
            Err(why) => tracing::error!(
                route = &*route,
                "the provider could not be told that its events are wanted here, so it sends none: {why}"
            ),
        }
    }
}

async fn persist<F>(address: &str, ask: &impl Fn(String) -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    for wait in WAITS {
        if ask(address.to_owned()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
    }
    ask(address.to_owned()).await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_asked_until_it_answers_and_three_times_at_most() {
        let asked = RefCell::new(Vec::new());
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        for address in ["https://a/", "https://never/"] {
            sender.send(Confirmation { route: "r".into(), address: address.into() }).await.unwrap();
        }
        drop(sender);
        run(receiver, |address| {
            asked.borrow_mut().push(address.clone());
            let seen = asked.borrow().iter().filter(|other| **other == address).count();
            async move { if address.contains("never") || seen < 2 { Err("no".to_owned()) } else { Ok(()) } }
        })
        .await;
        let asked = asked.into_inner();
        assert_eq!(asked.iter().filter(|address| *address == "https://a/").count(), 2);
        assert_eq!(asked.iter().filter(|address| *address == "https://never/").count(), 3);
    }
}
