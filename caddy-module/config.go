package caddymodule

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// Scope is what can be said about all jobs, about those of a folder, or about
// one. The innermost word counts; variables add up, and all tokens and all
// rules apply.
type Scope struct {
	// How long a queued item waits before it may start, so that equal triggers
	// can join it. Default: 5s.
	QuietPeriod *caddy.Duration `json:"quiet_period,omitempty"`

	// How long a build may run before it is stopped; 0 is no limit. Default: no limit.
	Timeout *caddy.Duration `json:"timeout,omitempty"`

	// How many finished builds are kept of each job; 0 keeps all. Default: what the app says.
	KeepBuilds *int `json:"keep_builds,omitempty"`

	// Environment variables of builds. Placeholders like `{env.NAME}` are
	// replaced once, when the configuration is loaded.
	Env map[string]string `json:"env,omitempty"`

	// The directory in which builds start; a relative path is one in the job's
	// workspace. Placeholders are replaced as in `env`. Default: the workspace.
	Dir string `json:"dir,omitempty"`

	// The servers that may run builds: those that have this label. Default: any.
	Label string `json:"label,omitempty"`

	// What opens the jobs without an account.
	Tokens []Token `json:"tokens,omitempty"`

	// CEL expressions, all of which must be true for a trigger to be accepted.
	Allow []Rule `json:"allow,omitempty"`

	// Senders of webhooks, which the `on` of jobs name.
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Folder holds jobs and folders.
type Folder struct {
	// Its name: any text without slashes and control characters.
	Name string `json:"name"`

	Scope

	// Folders in it.
	Folders []Folder `json:"folders,omitempty"`

	// Jobs in it.
	Jobs []Job `json:"jobs,omitempty"`
}

// Job is something that can be built.
type Job struct {
	// Its name: any text without slashes and control characters. Case counts.
	Name string `json:"name"`

	// What people should know about it.
	Description string `json:"description,omitempty"`

	// Refuses triggers.
	Disabled bool `json:"disabled,omitempty"`

	// Lets several builds of the job run at a time. Default: one at a time.
	Concurrent bool `json:"concurrent,omitempty"`

	// Which queued item a trigger joins: `identical`, one with the same
	// parameter values, or `never`. Default: `identical`.
	Coalesce job.Coalesce `json:"coalesce,omitempty"`

	// Shows the state of the last build to everybody as a picture, without account or token.
	Badge bool `json:"badge,omitempty"`

	Scope

	// What a trigger can say, in the order in which people and builds see it.
	Params []job.Param `json:"params,omitempty"`

	// What starts builds for the deliveries of webhooks. Of several that fit a
	// delivery, the first counts.
	On []On `json:"on,omitempty"`

	// The times at which builds start without a trigger.
	Schedules []Schedule `json:"schedules,omitempty"`

	// What a build runs. Required.
	RunRaw json.RawMessage `json:"run,omitempty" caddy:"namespace=build_token.runners inline_key=runner"`

	// What looks for changes when the job is polled. Default: the job can't be polled.
	PollRaw json.RawMessage `json:"poll,omitempty" caddy:"namespace=build_token.pollers inline_key=poller"`
}

// Token opens jobs to whoever presents its secret.
type Token struct {
	// What logs, causes and rules call it. Default: `default`.
	Name string `json:"name,omitempty"`

	// The secret: itself, a placeholder like `{env.NAME}` or
	// `{file./run/secrets/x}`, or `sha256:` with 64 hexadecimal digits, as `caddy build-token
	// digest` prints it. Only its digest is kept once the configuration is loaded.
	Secret string `json:"secret,omitempty"`

	// When it stops to work, as in `2027-01-31T00:00:00Z`. Default: never.
	Expires time.Time `json:"expires,omitzero"`

	// CEL expressions that must also be true for callers with this token.
	Allow []Rule `json:"allow,omitempty"`

	// What it opens: `trigger`, `status`, `log`, `cancel`, `share`. Default: `trigger`.
	Grants []string `json:"grants,omitempty"`
}

// Rule is a CEL expression. In JSON it is a string, or an object if it has a message.
type Rule struct {
	// The expression.
	Expression string `json:"expression"`

	// What callers are told when it refuses them. Default: nothing but the refusal.
	Message string `json:"message,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (r Rule) MarshalJSON() ([]byte, error) {
	if r.Message == "" {
		return json.Marshal(r.Expression)
	}
	type object Rule
	return json.Marshal(object(r))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *Rule) UnmarshalJSON(text []byte) error {
	*r = Rule{}
	if bytes.HasPrefix(text, []byte{'"'}) {
		return json.Unmarshal(text, &r.Expression)
	}
	type object Rule
	return caddy.StrictUnmarshalJSON(text, (*object)(r))
}

// Access says what callers without a token may do, by CEL expressions over
// user, job and request.
type Access struct {
	// Who may see jobs, builds, logs and the queue. Default: `user != ""`, all that
	// another handler of Caddy has authenticated.
	Read string `json:"read,omitempty"`

	// Who may trigger builds by POST. Default: nobody.
	Build string `json:"build,omitempty"`

	// Who may cancel items and stop builds. Default: nobody.
	Cancel string `json:"cancel,omitempty"`
}
