package caddymodule_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/buildtoken/buildtoken/caddy-module"
)

// serveSite runs a Caddy whose only site has the given block, with a queue of
// its own and no throttle, until the test ends. It returns the address. There
// is one Caddy in a process, so tests that use it don't run in parallel.
func serveSite(tb testing.TB, block string) string {
	tb.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	log {
		output discard
	}
	build_token {
		queue bolt %s/queue.db
		queue_limit 100000000
		wrong_tokens off
	}
}
http://%s {
%s
}
`, tb.TempDir(), address, block)
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		tb.Fatal(err, warnings)
	}
	if err := caddy.Load(config, true); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return address
}
