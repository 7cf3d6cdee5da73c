package definition

import (
	"errors"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// ErrInvalid is wrapped by every error of [Compile]. The text names the job or
// folder that is wrong.
var ErrInvalid = errors.New("buildtoken: bad definition")

// DefaultQuietPeriod is the quiet period of a job for which none is configured.
const DefaultQuietPeriod = 5 * time.Second

// Spec is the configuration of a site: a job tree and access rules.
type Spec struct {
	// Root is the tree. Its Name is empty.
	Root Folder
	// Access decides what callers without a token can do.
	Access Access
	// URL is where the site is served, with a slash at its end, for the environment of
	// builds that no request starts. Empty: unknown.
	URL string
}

// Access holds CEL rules over user, job and request. An empty rule is the
// default: every user that an authentication handler accepted can read, no
// user can build or cancel.
type Access struct{ Read, Build, Cancel string }

// Folder holds jobs and folders. Its settings, tokens and rules apply to every
// job below it, unless the job overrides them.
type Folder struct {
	Name     string
	Settings job.Settings
	// Tokens open every job below.
	Tokens []Token
	// Allow are CEL rules; all must be true for every job below. Their names are given by Compile.
	Allow []policy.Rule
	// Webhooks can be named by the On of every job below.
	Webhooks []WebhookSpec
	// Notify are notified of the builds of every job below.
	Notify  []NotifySpec
	Folders []Folder
	Jobs    []Job
}

// Token is a configured token. Only the digest of its secret is kept.
type Token struct {
	// Name defaults to "default".
	Name   string
	Digest token.Digest
	// Expires is when the token stops working. The zero value means never.
	Expires time.Time
	// Grants default to token.Trigger.
	Grants token.Grant
	// Allow are CEL rules for callers with this token, in addition to those of the job and its folders.
	Allow []policy.Rule
}

// Job is a configured job.
type Job struct {
	Name        string
	Description string
	Disabled    bool
	Concurrent  bool
	Coalesce    job.Coalesce
	Settings    job.Settings
	Tokens      []Token
	Allow       []policy.Rule
	Webhooks    []WebhookSpec
	Notify      []NotifySpec
	Params      []job.Param
	// On starts builds for webhook deliveries. Of several that fit a delivery,
	// the first counts.
	On []OnSpec
	// Schedules start builds or polls at certain times.
	Schedules []ScheduleSpec
	// Runner runs the builds. It is required.
	Runner runner.Runner
	// Poller looks for changes. If it is nil, the job cannot be polled.
	Poller runner.Poller
	// Badge makes the state of the job public, as a picture.
	Badge bool
}
