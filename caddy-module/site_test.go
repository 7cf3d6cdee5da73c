package caddymodule_test

import (
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/buildtoken/buildtoken/caddy-module"
)

// serveSite runs a Caddy whose only site has this block, with a separate queue and no throttle,
// until the test ends. It returns the address. There is one Caddy in a process, so tests that
// use it must not run in parallel.
func serveSite(tb testing.TB, block string) string {
	tb.Helper()
	address := freeAddress(tb)
	serve(tb, siteText(tb.TempDir(), address, block))
	return address
}

// serve runs the Caddyfile until the test ends.
func serve(tb testing.TB, text string) {
	tb.Helper()
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
}

// siteText returns the Caddyfile of a site with the block, and with its queue in dir.
func siteText(dir, address, block string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	order respond after build_token
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
`, dir, address, block)
}
