package caddymodule

import (
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/notify/receiver"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Notify is a receiver of notifications about builds. The URL and the secrets are
// resolved for each attempt to send one, and not kept.
type Notify struct {
	// What logs, pages and commands call it.
	Name string `json:"name"`

	// Where notifications go: an http or https URL, which can refer to parameters as `{param.NAME}`
	// behind the host; of the format `mail`, an smtp or smtps URL. Placeholders like `{env.NAME}`
	// are replaced.
	URL string `json:"url"`

	// What is notified: `queued`, `started`, `success`, `failure`, `unstable`, `aborted`,
	// `not_built`, `fixed` (success after failures), `regressed` (the opposite), `always` (each
	// end). Default: `failure`, `fixed`.
	On []queue.Condition `json:"on,omitempty"`

	// What a notification looks like: `standard` (a signed event), `slack` (also Mattermost),
	// `discord`, `teams`, `ntfy`, `github` (a commit status; also Gitea and Forgejo), `gitlab`,
	// `jenkins`, `mail`. Default: `standard`.
	Format receiver.Format `json:"format,omitempty"`

	// The secrets that sign notifications of the format `standard`: `whsec_` and base64, or
	// placeholders. With several, each adds a signature.
	Secrets []string `json:"secrets,omitempty"`

	// More header fields of the request. Placeholders are replaced.
	Header []HeaderField `json:"header,omitempty"`

	// A template in Go's text/template that takes the place of the format's body.
	Body string `json:"body,omitempty"`

	// The repository of a commit status, such as `{param.REPO}`.
	Repository string `json:"repository,omitempty"`

	// The commit of a commit status, such as `{param.COMMIT}`.
	Commit string `json:"commit,omitempty"`
}

// config returns the same for package receiver.
func (n *Notify) config() receiver.Config {
	c := receiver.Config{
		Format: n.Format, URL: n.URL, Secrets: n.Secrets, Body: n.Body, Repository: n.Repository, Commit: n.Commit,
		Resolve: func(text string) (string, error) { return placeholders{}.replace(text) },
	}
	for _, f := range n.Header {
		c.Header = append(c.Header, receiver.Field(f))
	}
	return c
}

// notifies compiles receivers of notifications.
func (c *compiler) notifies(where string, all []Notify) []definition.NotifySpec {
	var compiled []definition.NotifySpec
	for i := range all {
		n := all[i] // the receiver keeps what it needs of it
		r, err := receiver.New(n.config())
		if err != nil {
			c.fail(where+" notify "+n.Name, err)
			continue
		}
		compiled = append(compiled, definition.NotifySpec{Name: n.Name, On: n.On, To: r})
	}
	return compiled
}
