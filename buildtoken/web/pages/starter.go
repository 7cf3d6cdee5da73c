package pages

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// starter is the user, token, webhook or trigger that started builds. It is written as the
// parameter by of an address:
//
//	user:NAME  token:NAME  webhook:NAME  timer  scm
//	TEXT       users, tokens, webhooks and addresses of clients with this text, whatever its case
//
// The zero value stands for all of them.
type starter struct{ kind, name string }

// Kinds of starters with a name.
const (
	byUser    = "user"
	byToken   = "token"
	byWebhook = "webhook"
)

func parseStarter(text string) starter {
	text = strings.TrimSpace(text)
	kind, name, ok := strings.Cut(text, ":")
	switch {
	case ok && name != "" && (kind == byUser || kind == byToken || kind == byWebhook):
		return starter{kind, name}
	case text == string(queue.CauseTimer), text == string(queue.CauseSCM):
		return starter{kind: text}
	}
	return starter{name: text} // an IPv6 address has colons too
}

// String returns the text for [parseStarter].
func (s starter) String() string {
	if s.kind == "" || s.name == "" {
		return s.kind + s.name
	}
	return s.kind + ":" + s.name
}

// word is what the text of a cause calls the starter.
func (s starter) word() string {
	if s.kind == string(queue.CauseSCM) {
		return "SCM change"
	}
	return cmp.Or(s.name, s.kind)
}

// started reports whether a trigger of this starter created or joined an item.
func (s starter) started(it queue.Item) bool {
	return s == starter{} || slices.ContainsFunc(it.Causes, s.caused)
}

func (s starter) caused(c queue.Cause) bool {
	switch s.kind {
	case byUser:
		return c.Kind == queue.CauseUser && c.User == s.name
	case byToken:
		return c.Kind == queue.CauseRemote && c.Token == s.name
	case byWebhook:
		return c.Kind == queue.CauseWebhook && c.Webhook == s.name
	case "":
		text := strings.ToLower(s.name)
		return slices.ContainsFunc([]string{c.User, c.Token, c.Webhook, c.Addr}, func(name string) bool {
			return strings.Contains(strings.ToLower(name), text)
		})
	}
	return string(c.Kind) == s.kind
}

// startersOf returns the starters of a cause: the one that its text names, and the token.
// Either is zero if there is none.
func startersOf(c queue.Cause) (named, token starter) {
	if c.Token != "" {
		token = starter{byToken, c.Token}
	}
	switch {
	case c.Kind == queue.CauseUser && c.User != "":
		named = starter{byUser, c.User}
	case c.Kind == queue.CauseWebhook && c.Webhook != "":
		named = starter{byWebhook, c.Webhook}
	case c.Kind == queue.CauseTimer, c.Kind == queue.CauseSCM:
		named = starter{kind: string(c.Kind)}
	}
	return named, token
}

// buildsBy returns the address of the builds of a starter in the list of builds at an address;
// "" if either is missing.
func buildsBy(at string, s starter) string {
	if at == "" || s == (starter{}) {
		return ""
	}
	return withQuery(at, url.Values{"by": {s.String()}}) + "#history-title"
}

// startedBy is the address of the list for [buildsBy] beside something of a job: the history of
// the job, "" if the site does not have it any more.
func (v *visit) startedBy(full string) string {
	if !v.Definition.Has(full) {
		return ""
	}
	return web.JobURL(v.base, full)
}
