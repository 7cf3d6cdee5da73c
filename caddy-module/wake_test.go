package caddymodule_test

import (
	"bytes"
	"context"
	"io"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

func init() { caddy.RegisterModule(new(Wake)) }

// Wake switches a machine on, by a packet to its network: runner wake <mac> <address>.
type Wake struct {
	MAC     string `json:"mac"`
	Address string `json:"address"`
}

func (*Wake) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "build_token.runners.wake", New: func() caddy.Module { return new(Wake) }}
}

func (w *Wake) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.Args(&w.MAC, &w.Address) || d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func (w *Wake) Run(ctx context.Context, _ runner.Build, log io.Writer) runner.Result {
	mac, err := net.ParseMAC(w.MAC)
	if err != nil {
		return runner.Result{Outcome: runner.NotBuilt, Reason: err.Error()}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", w.Address)
	if err != nil {
		return runner.Result{Outcome: runner.NotBuilt, Reason: err.Error()}
	}
	defer conn.Close()
	packet := append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac, 16)...)
	if _, err := conn.Write(packet); err != nil {
		return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
	}
	_, _ = io.WriteString(log, "woke "+w.MAC+"\n") // a log that fails does not fail the build
	return runner.Result{Outcome: runner.Success}
}
