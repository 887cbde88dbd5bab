#!/usr/bin/env bash
# Measures the whole process, as shipped, against its references: the server alone on core 0, the load (and the app
# behind) on core 1, each kind once a round, so that what the machine does meanwhile hits all of them alike.
#
#   benches/run.sh [ROUNDS]      results in target/results/, the table on standard output
#
# Needs two cores, taskset and nginx. Everything is on loopback; nothing outlives the script.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
seconds=${BENCH_SECONDS:-4}
connections=${BENCH_CONNECTIONS:-64}
events=${BENCH_EVENTS:-150000}
backlog=${BENCH_BACKLOG:-1000000}
drain_rate=${BENCH_DRAIN_RATE:-10000}
listen=127.0.0.1:18900
app=127.0.0.1:18901
metrics=127.0.0.1:18902
secret=bench-secret

if [ "$(nproc)" -lt 2 ]; then
    echo "two cores are needed: one for the server, one for the load" >&2
    exit 1
fi
if ! command -v nginx >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null
    else
        echo "nginx is needed as a reference (on Debian: apt-get install nginx-light)" >&2
        exit 1
    fi
fi

cargo build --release --bin hooklatch --example load
bin=target/release/hooklatch
load=target/release/examples/load

mkdir -p target/results
results=target/results/bench-$(date -u +%Y%m%dT%H%M%SZ).jsonl
work=$(mktemp -d)
server=
behind=
made=0

stop() { # PID: ends what this script started, and waits for it
    [ -n "$1" ] || return 0
    kill -TERM "$1" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null || true
}
cleanup() {
    stop "$server"
    stop "$behind"
    rm -rf "$work"
}
trap cleanup EXIT

wait_for() { # ADDRESS: until somebody listens there
    for _ in $(seq 200); do
        if (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null; then return 0; fi
        sleep 0.05
    done
    echo "nobody listens at $1" >&2
    cat "$work"/*.log >&2
    exit 1
}
free() { # ADDRESS: until nobody listens there any more
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null || return 0
        sleep 0.05
    done
}

start() { # COMMAND…: the server, on core 0
    taskset -c 0 "$@" </dev/null >"$work/server.log" 2>&1 &
    server=$!
    wait_for "$listen"
}
start_behind() { # sink|app: what stands behind, on core 1
    taskset -c 1 "$load" "$1" "$app" </dev/null >"$work/behind.log" 2>&1 &
    behind=$!
    wait_for "$app"
}
finish() {
    stop "$server"
    stop "$behind"
    server=
    behind=
    free "$listen"
    free "$app"
}

generate() { # NAME PATH OPTION…: measures, and keeps the line
    taskset -c 1 "$load" generate "http://$listen$2" --name "$1" --connections "$connections" --seconds "$seconds" \
        --pid "$server" "${@:3}" >>"$results"
}

hooklatch_config() { # ACK CONCURRENCY [BATCH]: a configuration with room for everything that is sent
    local store='store = "memory"' room='max_events = 10000000
max_bytes  = "64GiB"'
    if [ "$1" = durable ]; then
        store='store = "disk"' room='max_bytes = "16GiB"'
        # Removed at the end only: a disk that is told which blocks are free is busy with that during the next kind.
        made=$((made + 1))
    fi
    cat >"$work/hooklatch.toml" <<TOML
[server]
listen  = ["$listen"]
workers = 1
drain_timeout = "1s"

[admin]
listen = ""

[metrics]
listen = "$metrics"

[buffer]
$store
$room
path       = "$work/data-$made"

[dedupe]
max_ids = 10000000

[routes.github]
path       = "/github"
provider   = "github"
secrets    = [{ value = "$secret" }]
deliver_to = ["app"]
ack        = "$1"

[routes.rest]
path     = "/*"
proxy_to = "http://$app"

[destinations.app]
url         = "http://$app"
concurrency = $2
timeout     = "60s"
TOML
    if [ -n "${3:-}" ]; then
        # A batch is sent to a path of its own, and a pass-through goes to none.
        sed -i "s|^url  *= .*|url         = \"http://$app/events\"\nbatch       = $3|" "$work/hooklatch.toml"
    fi
}
start_hooklatch() { # ACK CONCURRENCY [BATCH]
    hooklatch_config "$@"
    start "$bin" run -c "$work/hooklatch.toml"
}

nginx_config() { # the body of `location /`
    cat >"$work/nginx.conf" <<CONF
daemon off;
master_process off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.err warn;
events { worker_connections 1024; }
http {
    access_log $work/nginx.access combined buffer=64k;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    keepalive_requests 100000000;
    upstream app { server $app; keepalive 64; keepalive_requests 100000000; }
    server {
        listen $listen;
        location / { $1 }
    }
}
CONF
}
start_nginx() {
    nginx_config "$1"
    start nginx -c "$work/nginx.conf" -p "$work"
}

accept_round() {
    start "$load" bare "$listen"
    generate "pingora, bare" /github
    finish
    start_behind sink
    start_hooklatch memory 1
    generate "hooklatch, accept, ack = memory" /github
    finish
    start_behind sink
    start_hooklatch durable 1
    generate "hooklatch, accept, ack = durable" /github --metrics "$metrics"
    finish
    start_behind sink
    start_hooklatch durable 1
    connections=256 generate "hooklatch, accept, ack = durable, 256 connections" /github --metrics "$metrics"
    finish
    start_behind sink
    start_hooklatch durable 1
    generate "hooklatch, accept, ack = durable, small events" /github --metrics "$metrics" --body 64
    finish
    start_nginx 'return 200;'
    generate "nginx, return 200" /github
    finish
}

through_round() {
    start_behind app
    start "$load" pass "$listen" "$app"
    generate "pingora, pass-through" /x
    finish
    start_hooklatch memory 64
    generate "hooklatch, end to end, ack = memory" /github --app "$app" --events "$events"
    finish
    start_hooklatch durable 64
    generate "hooklatch, end to end, ack = durable" /github --app "$app" --events "$events"
    finish
    for ack in memory durable; do
        start_hooklatch "$ack" 64 '{ max_events = 100, max_wait = "20ms" }'
        generate "hooklatch, end to end, ack = $ack, batches of 100" /github --app "$app" --events "$events"
        finish
    done
    start_behind app
    start_hooklatch delivered 64
    generate "hooklatch, end to end, ack = delivered" /github
    finish
    start_behind app
    start_hooklatch memory 64
    generate "hooklatch, proxy_to" /x
    finish
    start_behind app
    start_nginx "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection '';"
    generate "nginx, proxy_pass" /x
    finish
}

drain_round() {
    start_hooklatch durable 64
    generate "hooklatch, a backlog of $backlog events" /github --app "$app" --backlog "$backlog" --rate "$drain_rate"
    finish
}

half_of_maximum() { # ACK: half of what hooklatch accepts, from the rounds so far
    "$load" half "$results" "hooklatch, accept, ack = $1"
}

idle_round() {
    taskset -c 1 "$load" latency "http://$app/github" --name "one hop" --app "$app" --app-core 0 >>"$results"
    free "$app"
    for ack in memory durable; do
        # Just before: how long a sync takes is the disk's mood. And as seldom as the events come: on a machine at rest it
        # takes longer than one behind the other.
        [ "$ack" = memory ] || taskset -c 0 "$load" fdatasync "$work" --rest 5 >>"$results"
        start_hooklatch "$ack" 8
        taskset -c 1 "$load" latency "http://$listen/github" --name "hooklatch, idle, ack = $ack" --app "$app" >>"$results"
        finish
    done
}

latency_round() { # RATE
    start "$load" bare "$listen"
    generate "pingora, bare" /github --rate "$1"
    finish
    start_behind sink
    start_hooklatch memory 1
    generate "hooklatch, accept, ack = memory" /github --rate "$1"
    finish
}

durable_latency_round() { # RATE
    taskset -c 0 "$load" fdatasync "$work" >>"$results"
    start_behind sink
    start_hooklatch durable 1
    generate "hooklatch, accept, ack = durable" /github --rate "$1"
    finish
}

start_hooklatch memory 8
sleep 1
echo "{\"name\":\"hooklatch\",\"idle_resident_kib\":$(awk '/VmRSS/{print $2}' "/proc/$server/status")}" >>"$results"
finish

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    accept_round
    through_round
done
drain_round
for round in $(seq "$rounds"); do
    echo "an idle gateway, round $round of $rounds" >&2
    idle_round
done
rate=$(half_of_maximum memory)
for round in $(seq "$rounds"); do
    echo "latency at $rate/s, round $round of $rounds" >&2
    latency_round "$rate"
done
rate=$(half_of_maximum durable)
for round in $(seq "$rounds"); do
    echo "latency of what is durable at $rate/s, round $round of $rounds" >&2
    durable_latency_round "$rate"
done

echo "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(date -u +%F), $rounds rounds of $seconds s, $connections connections, 1 KiB bodies"
echo
"$load" report "$results"
