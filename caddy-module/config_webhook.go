package caddymodule

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

// Webhook is a sender of signed deliveries.
type Webhook struct {
	// What the `on` of jobs and logs call it. Default: the kind.
	Name string `json:"name,omitempty"`

	// How deliveries are signed and what they look like: `github`, `gitlab`, `gitea`
	// (also Forgejo and Gogs), `bitbucket` (Cloud and Data Center), `standard`, `slack`,
	// `stripe`, `hmac`, `token`.
	Kind string `json:"kind"`

	// The secrets that may have signed a delivery: themselves, or placeholders like
	// `{env.NAME}`. They stay in memory in clear, except for the kind `token`, which also
	// accepts `sha256:` with 64 hexadecimal digits.
	Secrets []string `json:"secrets"`

	// The header with the signature. Required for the kind `hmac`, and for it only.
	Header string `json:"header,omitempty"`

	// What stands in that header before the signature.
	Prefix string `json:"prefix,omitempty"`

	// The algorithm of the kind `hmac`: `sha1`, `sha256`, `sha512`. Default: `sha256`.
	Algorithm string `json:"algorithm,omitempty"`

	// The encoding of the kind `hmac`: `hex`, `base64`. Default: `hex`.
	Encoding string `json:"encoding,omitempty"`

	// How far a signed timestamp may be from now, in both directions. Default: 5m.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	// The size of the largest body in bytes, at most 25 MiB. Default: 5 MiB.
	MaxSize int64 `json:"max_size,omitempty"`
}

// On starts builds of a job for the deliveries of a webhook.
type On struct {
	// The name of a webhook of the job or of a folder above it.
	Webhook string `json:"webhook"`

	// The events that count: `push`, `pull_request`, or what the sender calls them. Default: all.
	Events []string `json:"events,omitempty"`

	// A CEL condition over `event` and `body`. Default: true.
	When string `json:"when,omitempty"`

	// The parameters that the delivery sets, by CEL expressions.
	Set []Set `json:"set,omitempty"`

	// A CEL expression for the note of the cause. Default: a summary of the event.
	Cause string `json:"cause,omitempty"`

	// How long an item waits, in place of the job's quiet period.
	Delay *caddy.Duration `json:"delay,omitempty"`

	// What is not ignored: `deletions`, `skips`, `forks`. Default: all are.
	Include []string `json:"include,omitempty"`

	// at is where it stands in a Caddyfile.
	at caddyfile.Dispenser
}

// Set gives a parameter the value of an expression.
type Set struct {
	// The name of a parameter of the job.
	Param string `json:"param"`

	// A CEL expression over `event` and `body`. Lists and maps become JSON; null and
	// absent values leave the default.
	Value string `json:"value"`
}

// config returns the webhook with these secrets.
func (w *Webhook) config(secrets []hook.Secret) hook.Config {
	return hook.Config{
		Kind: event.Kind(w.Kind), Secrets: secrets, Header: w.Header, Prefix: w.Prefix, Algorithm: w.Algorithm,
		Encoding: w.Encoding, Tolerance: time.Duration(w.Tolerance), MaxSize: w.MaxSize,
	}
}

// spec returns the same for package definition.
func (o *On) spec() definition.OnSpec {
	spec := definition.OnSpec{
		Webhook: o.Webhook, Events: o.Events, When: o.When, Cause: o.Cause, Delay: (*time.Duration)(o.Delay), Include: o.Include,
	}
	for _, s := range o.Set {
		spec.Set = append(spec.Set, definition.SetSpec(s))
	}
	return spec
}
