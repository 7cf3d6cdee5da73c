// Package caddymodule makes Caddy a server that builds on request: a handler
// that takes Jenkins-compatible triggers, and an app that queues and runs the
// builds. Importing it registers
//
//   - the app build_token and the Caddyfile global option of that name ([App]),
//   - the handler http.handlers.build_token and its directive ([Handler]),
//   - the queues build_token.queues.bolt ([Bolt]) and
//     build_token.queues.postgres ([Postgres]),
//   - the runner build_token.runners.exec ([ExecRunner]) and the poller
//     build_token.pollers.exec ([ExecPoller]),
//   - the admin API under /build_token/ ([Admin]), and
//   - the command caddy build-token.
//
// What to watch out for: Caddy provisions configurations that it never starts, has
// two of them at a time while it reloads, and lets requests of the old one
// finish after that one was cleaned up. So provisioning only compiles; the
// data is opened by Start or by the first request; and it belongs to a slot
// in a pool that outlives each single configuration.
package caddymodule
