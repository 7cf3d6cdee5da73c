package caddymodule

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// Scope holds the settings that can stand at the top, in a folder or in a job, and apply
// to every job below. The innermost setting wins; environment variables are merged, and
// all tokens and rules apply.
type Scope struct {
	// How long a queued item waits before it may start, so that equal triggers
	// can join it. Default: 5s.
	QuietPeriod *caddy.Duration `json:"quiet_period,omitempty"`

	// How long a build may run before it is stopped; 0 means no limit. Default: no limit.
	Timeout *caddy.Duration `json:"timeout,omitempty"`

	// How many finished builds are kept per job; 0 keeps all. Default: the setting of the app.
	KeepBuilds *int `json:"keep_builds,omitempty"`

	// Environment variables of builds. Placeholders like `{env.NAME}` are
	// replaced once, when the configuration is loaded.
	Env map[string]string `json:"env,omitempty"`

	// The directory in which builds start, relative to the job's workspace.
	// Placeholders are replaced as in `env`. Default: the workspace.
	Dir string `json:"dir,omitempty"`

	// Only servers with this label run builds. Default: any server.
	Label string `json:"label,omitempty"`

	// Tokens that open the jobs without an account.
	Tokens []Token `json:"tokens,omitempty"`

	// CEL expressions, all of which must be true for a trigger to be accepted.
	Allow []Rule `json:"allow,omitempty"`

	// Senders of webhooks. The `on` blocks of jobs refer to them by name.
	Webhooks []Webhook `json:"webhooks,omitempty"`

	// What is notified of builds. All that apply to a job are.
	Notify []Notify `json:"notify,omitempty"`
}

// Folder holds jobs and folders.
type Folder struct {
	// The name: any text without slashes and control characters.
	Name string `json:"name"`

	Scope

	// Folders in it.
	Folders []Folder `json:"folders,omitempty"`

	// Jobs in it.
	Jobs []Job `json:"jobs,omitempty"`
}

// Job is a job that can be triggered.
type Job struct {
	// The name: any text without slashes and control characters. Case counts.
	Name string `json:"name"`

	// A description for users.
	Description string `json:"description,omitempty"`

	// Refuses triggers.
	Disabled bool `json:"disabled,omitempty"`

	// Allows several builds of the job at the same time. Default: one at a time.
	Concurrent bool `json:"concurrent,omitempty"`

	// Which queued item a trigger joins: `identical`, one with the same
	// parameter values, or `never`. Default: `identical`.
	Coalesce job.Coalesce `json:"coalesce,omitempty"`

	// Makes the badge with the state of the last build public.
	Badge bool `json:"badge,omitempty"`

	Scope

	// The parameters, in the order in which forms and builds have them.
	Params []job.Param `json:"params,omitempty"`

	// Which deliveries of webhooks start builds. If several match a delivery, the first
	// one counts.
	On []On `json:"on,omitempty"`

	// The times at which builds start without a trigger.
	Schedules []Schedule `json:"schedules,omitempty"`

	// The runner of the builds. Required.
	RunRaw json.RawMessage `json:"run,omitempty" caddy:"namespace=build_token.runners inline_key=runner"`

	// The poller that checks for changes. Default: the job cannot be polled.
	PollRaw json.RawMessage `json:"poll,omitempty" caddy:"namespace=build_token.pollers inline_key=poller"`
}

// Token opens jobs to callers that present its secret.
type Token struct {
	// The name in logs, causes and rules. Default: `default`.
	Name string `json:"name,omitempty"`

	// The secret: itself, a placeholder like `{env.NAME}` or
	// `{file./run/secrets/x}`, or `sha256:` with 64 hexadecimal digits, as `caddy build-token
	// digest` prints it. Only its digest is kept once the configuration is loaded.
	Secret string `json:"secret,omitempty"`

	// When the token stops working, such as `2027-01-31T00:00:00Z`. Default: never.
	Expires time.Time `json:"expires,omitzero"`

	// CEL expressions that must also be true for callers with this token.
	Allow []Rule `json:"allow,omitempty"`

	// What the token allows: `trigger`, `status`, `log`, `cancel`, `share`. Default: `trigger`.
	Grants []string `json:"grants,omitempty"`
}

// Rule is a CEL expression. In JSON it is a string, or an object if it has a message.
type Rule struct {
	// The expression.
	Expression string `json:"expression"`

	// The message for callers that the rule refuses. Default: a message without a reason.
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

// Access defines what callers without a token may do, as CEL expressions over user,
// job and request.
type Access struct {
	// Who may see jobs, builds, logs and the queue. Default: `user != ""`, every user that
	// an authentication handler of Caddy admitted.
	Read string `json:"read,omitempty"`

	// Who may trigger builds by POST. Default: no one.
	Build string `json:"build,omitempty"`

	// Who may cancel items and stop builds. Default: no one.
	Cancel string `json:"cancel,omitempty"`
}
