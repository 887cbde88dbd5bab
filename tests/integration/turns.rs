//! What goes first, what waits for what, and what goes where: through the whole process, and over a kill.

use std::time::Duration;

use crate::harness::{App, Gateway, Reply, SOON, Setup, wait_until};

const QUIET: Duration = Duration::from_millis(300);

fn texts(app: &App) -> Vec<String> {
    app.seen().iter().map(|seen| seen.text()).collect()
}

#[test]
fn a_failing_key_holds_back_itself_alone_also_over_a_kill() {
    for store in ["disk", "memory"] {
        let app = App::start();
        app.script([Reply::status(500)]);
        let mut gateway = Setup::new(
            r#"
            [routes.shop]
            path = "/shop"
            verify = "none"
            dedupe = false
            order_key = "header:x-customer"
            deliver_to = ["app"]
            [destinations.app]
            url = "$APP"
            retry = { delays = ["4s"], jitter = 0 }
            "#,
        )
        .set("APP", app.url())
        .store(store)
        .start();
        let send = |gateway: &Gateway, text: &str| {
            let customer = &text[..1];
            gateway.send("POST", "/shop", &[("X-Customer", customer)], text.as_bytes()).assert_accepted();
        };
        send(&gateway, "a1");
        app.wait_for(1);
        for text in ["a2", "b1", "a3", "b2"] {
            send(&gateway, text);
        }
        app.wait_for_exactly(3, QUIET);
        assert_eq!(texts(&app), ["a1", "b1", "b2"], "{store}: a2 and a3 wait for a1");
        if store == "disk" {
            gateway.kill();
            gateway.start_again();
        }
        send(&gateway, "a4");
        send(&gateway, "b3");
        app.wait_for_exactly(8, QUIET);
        let seen = texts(&app);
        assert_eq!(seen[3], "b3", "{store}: {seen:?}");
        assert_eq!(seen[4..], ["a1", "a2", "a3", "a4"], "{store}");
        wait_until("no event is pending", SOON, || {
            gateway.admin_get("/api/v1/status")["buffer"]["events"] == 0
        });
    }
}

#[test]
fn a_critical_event_overtakes_whatever_waits() {
    for store in ["disk", "memory"] {
        let app = App::start();
        app.always(Reply::ok().after(Duration::from_millis(20)));
        let gateway = Setup::new(
            r#"
            [routes.pages]
            path = "/pages"
            verify = "none"
            dedupe = false
            event_type = "header:x-type"
            priority = "bulk"
            priorities = { critical = ["charge.dispute.*"] }
            deliver_to = ["app"]
            [destinations.app]
            url = "$APP"
            concurrency = 1
            "#,
        )
        .set("APP", app.url())
        .store(store)
        .start();
        for n in 0..60 {
            gateway.send("POST", "/pages", &[("X-Type", "page.viewed")], format!("{n}").as_bytes());
        }
        app.wait_for(3);
        gateway.send("POST", "/pages", &[("X-Type", "charge.dispute.created")], b"dispute").assert_accepted();
        let before = app.seen().len();
        wait_until("the dispute is delivered", SOON, || texts(&app).contains(&"dispute".to_owned()));
        let place = texts(&app).iter().position(|text| text == "dispute").unwrap();
        assert!(place <= before + 1, "{store}: it was the {place}th, {before} were there before");
        app.wait_for(61);
    }
}

#[test]
fn each_destination_gets_its_types_and_what_nobody_takes_is_accepted() {
    let (app, billing) = (App::start(), App::start());
    let gateway = Setup::new(
        r#"
        [routes.in]
        path = "/in"
        verify = "none"
        dedupe = false
        event_type = "header:x-type"
        deliver_to = [{ to = "app", types = ["user.*", "invoice.paid"] }, { to = "billing", types = ["invoice.*"] }]
        [destinations.app]
        url = "$APP"
        [destinations.billing]
        url = "$BILLING"
        "#,
    )
    .set("APP", app.url())
    .set("BILLING", billing.url())
    .start();
    for kind in ["user.created", "invoice.paid", "invoice.void", "refund"] {
        gateway.send("POST", "/in", &[("X-Type", kind)], kind.as_bytes()).assert_accepted();
    }
    app.wait_for_exactly(2, QUIET);
    billing.wait_for_exactly(2, QUIET);
    let sorted = |app: &App| {
        let mut texts = texts(app);
        texts.sort();
        texts
    };
    assert_eq!(sorted(&app), ["invoice.paid", "user.created"]);
    assert_eq!(sorted(&billing), ["invoice.paid", "invoice.void"]);
    assert!((gateway.metric("hooklatch_events_nowhere_total{route=\"in\"}") - 1.0).abs() < f64::EPSILON);
}
